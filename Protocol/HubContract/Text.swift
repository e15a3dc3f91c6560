/// Cutting peers' texts at ASCII marks byte by byte. `String.split` goes by characters, and a combining mark after a
/// slash would hide it.
extension StringProtocol {
    func cut(at mark: Unicode.Scalar, maxSplits: Int = .max, omittingEmpty: Bool = false) -> [Substring] {
        Substring(self).utf8.split(
            separator: UInt8(ascii: mark), maxSplits: maxSplits, omittingEmptySubsequences: omittingEmpty
        ).map { Substring($0) }
    }

    /// The rest behind an ASCII prefix.
    func dropping(_ prefix: String) -> Substring? {
        let whole = Substring(self)
        guard whole.utf8.starts(with: prefix.utf8) else { return nil }
        return whole[whole.utf8.index(whole.startIndex, offsetBy: prefix.utf8.count)...]
    }

    /// What stands behind the first occurrence of an ASCII text.
    func behind(_ needle: String) -> Substring? {
        let whole = Substring(self)
        var start = whole.startIndex
        while start < whole.endIndex {
            if let rest = whole[start...].dropping(needle) { return rest }
            start = whole.unicodeScalars.index(after: start)
        }
        return nil
    }
}
