import Expressions
import Primitives
import Signals
import Telemetry
import Testing

@Suite("Signals: conversion and plausibility")
struct ConversionTests {
    private static let units: [(String, String, String, String)] = [
        ("32", "[degF]", "Cel", "0"), ("98.6", "[degF]", "Cel", "37"), ("-40", "Cel", "[degF]", "-40"),
        ("100", "Cel", "[degF]", "212"), ("0", "Cel", "K", "273.15"), ("300", "K", "Cel", "26.85"),
        ("1", "[degF]", "Cel", "-17.2222222222222"), ("1013.25", "hPa", "kPa", "101.325"), ("1", "bar", "hPa", "1000"),
        ("1", "[psi]", "kPa", "6.894757293168361"), ("36", "km/h", "m/s", "10"), ("10", "m/s", "km/h", "36"),
        ("1", "kW.h", "MJ", "3.6"), ("1500", "W", "kW", "1.5"), ("60", "L/min", "m3/h", "3.6"),
        ("1", "[gal_us]", "L", "3.785411784"), ("12", "[in_i]", "mm", "304.8"), ("45", "%", "1", "0.45"),
        ("1500", "/min", "Hz", "25"), ("2.5", "t", "kg", "2500"), ("90", "min", "h", "1.5"),
        ("0.1", "A", "mA", "100"), ("21.50", "Cel", "Cel", "21.50"),
    ]

    @Test func unitsAreConvertedInExactDecimals() {
        for (given, from, to, expected) in Self.units {
            var settings = SignalSettings()
            settings.conversion.unit = to
            var bench = Bench([settings])
            let number = DecimalText(given)
            bench.take(bench.reading(number.map { .number($0) } ?? .boolean(false), unit: from))
            #expect(bench.kept.first?.value.description == expected, "\(given) \(from) in \(to)")
            #expect(bench.kept.first?.unit == to)
            #expect(bench.notices == [])
        }
    }

    @Test func scaleAndOffsetComeFirst() {
        var settings = SignalSettings()
        settings.conversion.scale = Decimal("0.1")
        settings.conversion.offset = Decimal("-40")
        settings.conversion.fromUnit = "[degF]"
        settings.conversion.unit = "Cel"
        var bench = Bench([settings])
        bench.take(bench.reading(.number(DecimalText(2520)), unit: "raw"))
        #expect(bench.kept.first?.value.description == "100")
        #expect(bench.kept.first?.unit == "Cel")
    }

    @Test func aUnitWithoutAWayStaysAndIsSaidOnce() {
        var settings = SignalSettings()
        settings.conversion.unit = "Cel"
        var bench = Bench([settings])
        bench.take(number: 5, unit: "bar")
        bench.take(number: 6, unit: "bar")
        bench.take(number: 7)
        #expect(bench.kept.map(\.unit) == ["bar", "bar", "Cel"])
        #expect(bench.kept.map(\.value.description) == ["5", "6", "7"])
        #expect(bench.notices.count == 1)
    }

    @Test func textsAndStatesAreLeftAlone() {
        var settings = SignalSettings()
        settings.conversion.fromUnit = "[degF]"
        settings.conversion.unit = "Cel"
        var bench = Bench([settings])
        bench.take(bench.reading(.text("32")))
        bench.take(bench.reading(.boolean(true)))
        #expect(bench.kept.map(\.value) == [.text("32"), .boolean(true)])
    }

    @Test func rangeStepAndRateMarkWhatCannotBe() {
        var settings = SignalSettings()
        settings.plausibility.low = 0
        settings.plausibility.high = 100
        settings.plausibility.stepMax = 20
        settings.plausibility.rateMax = 5
        var bench = Bench([settings])
        let rows: [(Double, Double, ReadingQuality)] = [
            (0, 50, .good), (1, 54, .good), (2, 60, .uncertain), (3, 61, .good), (4, 101, .bad), (5, 62, .good),
            (6, -0.1, .bad), (100, 90, .uncertain), (200, 100, .good), (200, 99, .uncertain), (201, 99, .good),
        ]
        for (second, value, _) in rows {
            bench.advance(to: Int64(second * 1000))
            bench.take(number: value)
        }
        #expect(bench.kept.map(\.quality) == rows.map(\.2))
        #expect(bench.signals.figures.first?.marked == 5)
        bench.take(bench.reading(.number(DecimalText(99)), quality: .bad))
        #expect(bench.kept.last?.quality == .bad, "the sensor's own doubt stays")
    }

    @Test func whoCannotWaitSeesTheSameAsTheRules() throws {
        var settings = SignalSettings(metric: "t")
        settings.conversion.scale = Decimal("0.1")
        settings.conversion.fromUnit = "[degF]"
        settings.conversion.unit = "Cel"
        settings.plausibility.high = 60
        let device = Bench.device("d")
        let check = SensorCheck(settings: [settings], sensors: [(device, "t")])
        for (given, quality) in [("320", ReadingQuality.good), ("2120", .bad)] {
            var bench = Bench([settings])
            let reading = bench.reading(.number(try #require(DecimalText(given))), "d", "t")
            bench.take(reading)
            #expect(check.reading(reading) == bench.kept.last)
            #expect(check.reading(reading).quality == quality)
        }
        let other = Bench([]).reading(.boolean(true), "d", "open")
        #expect(check.reading(other) == other)
    }

    @Test func whatIsWorkedOutComesFromNoSensor() throws {
        var derived = SignalSettings(device: Bench.device("d"), metric: "sum")
        derived.expression = try SignalExpression(parsing: "a + b")
        var window = SignalSettings(metric: "t")
        window.windows = [WindowSettings(name: "hour", length: .seconds(3600), aggregates: [.mean])]
        let rows: [(SignalSettings, String, String, Bool)] = [
            (derived, "sum", "d", true), (derived, "sum", "e", false), (derived, "a", "d", false),
            (window, "t.hour.mean", "d", true), (window, "t", "d", false), (window, "t.hour.max", "d", false),
        ]
        for (settings, metric, device, isWorkedOut) in rows {
            #expect(settings.worksOut(metric, of: Bench.device(device)) == isWorkedOut, "\(metric) of \(device)")
        }
    }
}
