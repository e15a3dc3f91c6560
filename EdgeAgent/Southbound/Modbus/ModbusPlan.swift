/// Which requests read a unit's register map: neighbours together, as far as gap and length allow. Pure, and the same
/// for the same map.
struct ModbusPlan: Equatable {
    struct Entry: Equatable {
        /// In the unit's register list.
        let register: Int
        /// Where its first register or bit lies in the block.
        let offset: Int
    }

    /// One read request.
    struct Block: Equatable {
        let table: ModbusRegister.Table
        let address: UInt16
        var count: Int
        var entries: [Entry]
    }

    let blocks: [Block]

    /// Tables in the order holding, input, coil, discrete; addresses ascending; no value is ever cut in two.
    init(unit: ModbusUnit) {
        var blocks: [Block] = []
        for table in ModbusRegister.Table.allCases {
            let wanted = unit.registers.enumerated()
                .filter { $0.element.table == table && $0.element.isRead }
                .sorted { ($0.element.address, $0.offset) < ($1.element.address, $1.offset) }
            var current: Block?
            for (index, register) in wanted {
                if let block = current, let joined = Self.join(block, index, register, unit) {
                    current = joined
                } else {
                    if let block = current { blocks.append(block) }
                    current = Block(
                        table: table, address: register.address, count: register.width,
                        entries: [Entry(register: index, offset: 0)])
                }
            }
            if let block = current { blocks.append(block) }
        }
        self.blocks = blocks
    }

    private static func join(_ block: Block, _ index: Int, _ register: ModbusRegister, _ unit: ModbusUnit) -> Block? {
        let offset = Int(register.address) - Int(block.address)
        let count = max(block.count, offset + register.width)
        guard offset - block.count <= unit.gapMax, count <= unit.blockLengthMax else { return nil }
        var joined = block
        joined.count = count
        joined.entries.append(Entry(register: index, offset: offset))
        return joined
    }
}
