"""A Modbus server by pymodbus on a pseudo terminal or a free port; prints where, then serves until it is ended."""
import asyncio
import os
import pty
import selectors
import socket
import struct
import sys
import threading
import tty

from pymodbus import FramerType
from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer


def float32(value):
    return list(struct.unpack(">HH", struct.pack(">f", value)))


REGISTERS = float32(230.4) + list(reversed(float32(5.25))) + [0xFFF1, 0, 0, 0] + [0] * 8


def wired_pair():
    """Two pseudo terminals joined by a thread, as a null-modem cable joins two ports; gives the outer names."""
    near, near_far = pty.openpty()
    far, far_far = pty.openpty()
    for end in (near_far, far_far):
        tty.setraw(end)

    def copy():
        with selectors.DefaultSelector() as waiting:
            waiting.register(near, selectors.EVENT_READ, far)
            waiting.register(far, selectors.EVENT_READ, near)
            while True:
                for key, _ in waiting.select():
                    os.write(key.data, os.read(key.fd, 512))

    threading.Thread(target=copy, daemon=True).start()
    return os.ttyname(near_far), os.ttyname(far_far)


async def main(kind):
    block = lambda: ModbusSequentialDataBlock(1, list(REGISTERS))
    coils = ModbusSequentialDataBlock(1, [0] * 8)
    device = ModbusDeviceContext(hr=block(), ir=block(), co=coils)
    context = ModbusServerContext(devices=device, single=True)
    if kind == "serial":
        own, other = wired_pair()
        print("at", other, flush=True)
        await StartAsyncSerialServer(
            context=context, framer=FramerType.RTU, port=own, baudrate=19200, parity="N", stopbits=1, bytesize=8)
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        print("at", port, flush=True)
        await StartAsyncTcpServer(context=context, address=("127.0.0.1", port))


asyncio.run(main(sys.argv[1]))
