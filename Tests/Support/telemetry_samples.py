"""Writes sample batches, one a file, for the training of a telemetry dictionary: machines and metrics as gateways see them.

    python3 Tests/Support/telemetry_samples.py FOLDER
    zstd --train -r FOLDER -o dictionary --maxdict=8192 --dictID=NUMBER

A dictionary that was released never changes: a better one gets a number of its own, beside it.
"""

import datetime
import json
import pathlib
import random
import sys
import uuid

UNITS = {"temperature": "Cel", "humidity": "%", "pressure": "bar", "power": "W", "energy": "kW.h", "current": "A",
         "voltage": "V", "flow": "L/min", "level": "%", "speed": "r/min", "vibration": "mm/s", "runtime": "h",
         "door": None, "state": None, "co2": "[ppm]", "battery": "%", "frequency": "Hz", "position": "mm",
         "setpoint": "Cel", "count": "{count}"}
MACHINES = ["boiler", "lift", "freezer", "coldroom", "coffee", "pump", "compressor", "meter", "thermostat", "sensor",
            "heatpump", "chiller", "oven", "fan", "valve", "tank"]
RULES = ["overheat", "overpressure", "no-answer", "door-open", "silent", "low-level", "vibration-high"]


def sample(chance):
    epoch = f"{chance.getrandbits(64):016x}"
    seq = chance.randint(1, 10 ** chance.randint(2, 8))
    count = chance.choice([1, 1, 2, 3, 5, 10, 20])
    time = 1_795_000_000_000 + chance.randint(0, 10 ** 10)
    devices = [f"{chance.choice(MACHINES)}-{chance.randint(1, 40)}" for _ in range(chance.randint(1, 4))]
    records = []
    for place in range(count):
        device, metric = chance.choice(devices), chance.choice(list(UNITS))
        time += chance.randint(1, 2000)
        stamp = iso(time)
        record = {"seq": str(seq + place), "device": device}
        if chance.random() < 0.08:
            record["fault"] = {
                "id": str(uuid.UUID(int=chance.getrandbits(128))),
                "state": chance.choice(["raised", "cleared"]), "rule": chance.choice(RULES),
                "severity": chance.choice(["critical", "warning", "info"]),
                "message": f"{device} is at {chance.uniform(0, 100):.2f}, above {chance.randint(1, 90)}",
                "metric": metric, "value": f"{chance.uniform(0, 100):.2f}", "limit": str(chance.randint(1, 90))}
        else:
            record["metric"] = metric
            if metric in ("door", "state"):
                record["value"] = chance.choice([True, False, {"text": "running"}, {"text": "stopped"}])
            else:
                record["value"] = chance.choice([
                    f"{chance.uniform(-30, 120):.2f}", f"{chance.uniform(0, 20):.1f}", str(chance.randint(0, 5000))])
            if UNITS[metric]:
                record["unit"] = UNITS[metric]
        record["time"] = stamp
        if chance.random() < 0.05:
            record["quality"] = chance.choice(["bad", "uncertain"])
        if chance.random() < 0.1:
            record["clock"] = chance.choice(["unset", "guessed"])
        records.append(record)
    batch = {"v": 1, "epoch": epoch, "runs": [[str(seq), str(count)]], "records": records}
    if chance.random() < 0.05:
        batch["dropped"] = [[str(seq - 10), "5"]]
    return json.dumps(batch, separators=(",", ":"), ensure_ascii=False)


def iso(milliseconds):
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(1)
    for number in range(6000):
        (folder / f"{number:05d}.json").write_text(sample(chance))


if __name__ == "__main__":
    main()
