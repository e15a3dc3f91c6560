import Testing

@testable import SimulatedSensors

@Suite struct ThermostatModelTests {
    private func stepped(_ model: ThermostatModel, seconds: Double) -> ThermostatModel {
        var model = model
        for _ in 0..<Int(seconds * 10) { model.step(seconds: 0.1) }
        return model
    }

    private func temperature(_ model: ThermostatModel) -> Double {
        var model = model
        return Double(model.measured().temperatureHundredths) / 100
    }

    @Test func theSameSeedGivesTheSameValues() {
        var first = ThermostatModel(seed: 5)
        var second = ThermostatModel(seed: 5)
        var other = ThermostatModel(seed: 6)
        var differs = false
        for _ in 0..<50 {
            for _ in 0..<3 {
                first.step(seconds: 0.3)
                second.step(seconds: 0.3)
                other.step(seconds: 0.3)
            }
            #expect(first == second)
            let value = first.measured()
            #expect(value == said({ second.measured() }))
            differs = differs || value != other.measured()
        }
        #expect(differs)
    }

    @Test func itFollowsItsSetPoint() {
        var model = ThermostatModel(seed: 1)
        #expect(said({ model.set(target: 25) }))
        #expect(abs(temperature(stepped(model, seconds: 10)) - 25) < 0.5)
        #expect(!said({ model.set(target: 90) }))
        #expect(model.setPoint == 25)
    }

    @Test func aStuckContactOverheatsARelayHoldsItAndAResetMendsIt() {
        var model = ThermostatModel(seed: 1)
        model.stick()
        model = stepped(model, seconds: 5)
        #expect(temperature(model) > 80)
        model.isRelayClosed = true
        model = stepped(model, seconds: 60)
        #expect(abs(temperature(model) - ThermostatModel.heldAt) < 0.5, "the relay holds it, it does not mend it")
        model.reset()
        model = stepped(model, seconds: 8)
        #expect(abs(temperature(model) - 21.5) < 0.5)
        #expect(!model.isRelayClosed)
    }

    @Test func theMeterCountsOnlyWhileItsRelayIsClosed() {
        var model = MeterModel(seed: 1)
        for _ in 0..<10 { model.step(seconds: 3600) }
        let counted = Array(model.registers[6...7])
        #expect(counted != Array(MeterModel(seed: 1).registers[6...7]))
        model.isRelayClosed = false
        model.step(seconds: 3600)
        #expect(Array(model.registers[6...7]) == counted)
        #expect(model.registers[2...5].allSatisfy { $0 == 0 })
        #expect(model.registers.count == MeterModel.registerCount)
    }
}
