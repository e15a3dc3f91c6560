import Primitives

/// What one column of one row holds.
enum Cell: Sendable, Equatable {
    case null
    case text(String)
    case whole(Int64)
    case flag(Bool)
    /// Whole seconds: Dataverse keeps no fraction.
    case instant(WallInstant)
    case identifier(UniqueID)

    /// Cut to whole seconds, as the column keeps it.
    static func seconds(_ instant: WallInstant) -> Cell {
        .instant(WallInstant(milliseconds: instant.unixSeconds * 1000))
    }
}

/// One row: its primary key, its version and the value of each column by logical name.
struct Row: Sendable, Equatable {
    let id: UniqueID
    var cells: [String: Cell]

    subscript(_ column: String) -> Cell { cells[column] ?? .null }

    func text(_ column: String) -> String? {
        if case .text(let text) = self[column] { text } else { nil }
    }

    func whole(_ column: String) -> Int64? {
        if case .whole(let number) = self[column] { number } else { nil }
    }

    func identifier(_ column: String) -> UniqueID? {
        if case .identifier(let id) = self[column] { id } else { nil }
    }

    func instant(_ column: String) -> WallInstant? {
        if case .instant(let instant) = self[column] { instant } else { nil }
    }

    /// The weak entity tag: `W/"1042"`.
    var entityTag: String { "W/\"\(whole("versionnumber") ?? 0)\"" }
}
