import SouthboundAPI
import Testing

@testable import LocalMQTT

@Suite struct FlightsTests {
    @Test func whatHasEndedLeavesInOrderAndWithWhatHadNothingToDeliver() {
        var flights = Flights()
        flights.began(Flights.Flight(messages: 1), isDelivered: true)
        flights.began(Flights.Flight(messages: 2), isDelivered: false)
        flights.began(Flights.Flight(messages: 3), isDelivered: true)
        #expect(said({ flights.takeEnded() == nil }), "what stands behind waits, too")
        flights.ended(.kept)
        #expect(said({ flights.takeEnded()?.flight.messages }) == 1)
        #expect(said({ flights.takeEnded()?.flight.messages }) == 2)
        #expect(said({ flights.takeEnded() == nil }))
        flights.ended(.refused(SinkError(.full, detail: "full")))
        #expect(said({ flights.takeEnded()?.ending }) == .refused(SinkError(.full, detail: "full")))
        #expect(flights.isEmpty && flights.total == Flights.Flight())
    }

    @Test(arguments: [
        Flights.Flight(messages: Flights.messagesMax), Flights.Flight(readings: Flights.readingsMax),
        Flights.Flight(payloadBytes: Flights.payloadBytesMax),
    ]) func aSlowDiskIsOverrunByNothing(_ flight: Flights.Flight) {
        var flights = Flights()
        #expect(flights.hasRoom)
        flights.began(flight, isDelivered: true)
        #expect(!flights.hasRoom)
        flights.ended(.kept)
        _ = flights.takeEnded()
        #expect(flights.hasRoom)
    }
}
