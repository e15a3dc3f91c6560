import EdgeStore
import Glibc
import Outbox
import Primitives
import SimulatedDisk
import Telemetry
import Testing

/// After a failed sync Linux shows what was written, though the disk has not got it, and never writes it again. Part of the
/// serialised suite, because bugs are planted for the whole process.
extension SimulationTests {
    @Test func aRestartAfterAFailedSyncLosesNothingWithTheNextPowerCut() throws {
        simulated_disk_install()
        let folder = self.folder + "/failed-sync"
        mkdir(folder, 0o700)
        let disk = simulated_disk_make(folder, 1)
        defer { simulated_disk_free(disk) }
        do {
            let outbox = try SQLiteOutbox(path: folder + "/outbox.sqlite")
            _ = try outbox.append(try commit(1))
            simulated_disk_fail_syncs(disk, 1)
            #expect(throws: OutboxError.self) { try outbox.append(try commit(2)) }
            simulated_disk_freeze(disk)
        }
        simulated_disk_thaw(disk)
        let next: UInt64
        do {
            let outbox = try SQLiteOutbox(path: folder + "/outbox.sqlite")
            next = try outbox.status().nextSequence
            _ = try outbox.append(try commit(next))
            simulated_disk_cut(disk)
        }
        #expect(simulated_disk_restore(disk) == 0)
        let outbox = try SQLiteOutbox(path: folder + "/outbox.sqlite")
        #expect(try outbox.status().nextSequence == next + 1)
    }

    private func commit(_ sequence: UInt64) throws -> OutboxCommit {
        let device = try #require(DeviceID("thermostat-1"))
        let time = WallInstant(milliseconds: 1_795_251_600_000)
        let reading = Reading(device: device, metric: "temperature", value: .boolean(true), time: time)
        return OutboxCommit(
            records: [SequencedRecord(sequence: sequence, record: .reading(reading))], wallTime: time,
            clock: .synchronised)
    }
}
