import BrokerKit
import FieldKit
import JSON
import Primitives
import SimulatedSensors
import Testing

/// Against a real mosquitto, seen by mosquitto's own clients.
@Suite(.serialized) struct SimulatedThermostatTests {
    private func started(_ broker: LocalBroker) throws -> SimulatedThermostat {
        var config = SimulatedThermostat.Config(device: "thermostat-1", port: broker.port)
        config.interval = .milliseconds(50)
        config.heatingRate = 200
        let sensor = SimulatedThermostat(config: config, logger: LogBook().logger)
        try #require(sensor.start())
        return sensor
    }

    @Test func itPublishesItsStateAsJSON() throws {
        let broker = try LocalBroker()
        try broker.collect("plant/#", as: "watcher")
        let sensor = try started(broker)
        defer { sensor.stop() }
        let line = try #require(try broker.collected("plant/#", as: "watcher", count: 1).first)
        let parts = line.split(separator: " ", maxSplits: 1)
        #expect(parts.first == "plant/thermostat-1/state")
        let state = try JSONValue(parsing: String(try #require(parts.last)))
        #expect(state.objectValue?.keys == ["temperature", "humidity", "relay"])
        #expect(abs((state["temperature"]?.doubleValue ?? 0) - 21.5) < 0.2)
        #expect(state["relay"]?.boolValue == false)
    }

    @Test func itOverheatsObeysRelayAndResetAndAnswers() throws {
        let broker = try LocalBroker()
        let sensor = try started(broker)
        defer { sensor.stop() }
        try waitUntil("it publishes") { sensor.snapshot.publishedCount > 1 }
        sensor.overheat()
        try waitUntil("it is too hot") { sensor.snapshot.temperature > 70 }
        try broker.publish("plant/thermostat-1/relay", "1")
        try waitUntil("the relay closed") { sensor.snapshot.isRelayClosed }
        try broker.collect("plant/+/answer", as: "watcher")
        try broker.publish("plant/thermostat-1/cmd/reset", #"{"id":7}"#)
        try waitUntil("it is cool again") { sensor.snapshot.temperature < 30 && !sensor.snapshot.isOverheating }
        try broker.publish("plant/thermostat-1/cmd/set", #"{"id":8,"args":{"target":24}}"#)
        try broker.publish("plant/thermostat-1/cmd/set", #"{"target":99}"#)
        try broker.publish("plant/thermostat-1/cmd/notify", #"{"message":"door open"}"#)
        #expect(
            try broker.collected("plant/+/answer", as: "watcher", count: 4) == [
                #"plant/thermostat-1/answer {"id":7,"done":"reset"}"#,
                #"plant/thermostat-1/answer {"id":8,"done":"set"}"#,
                #"plant/thermostat-1/answer {"error":"set needs a target from 5 to 35"}"#,
                #"plant/thermostat-1/answer {"done":"notify"}"#,
            ])
        #expect(sensor.snapshot.setPoint == 24)
        #expect(sensor.snapshot.notifications == ["door open"])
        #expect(sensor.snapshot.resetCount == 1)
    }
}
