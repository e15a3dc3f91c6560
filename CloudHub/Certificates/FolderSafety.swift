import Glibc

/// Who may read files, and what is in a folder: for whoever looks after secrets beside the certificates.
///
/// Here and not where it is used, because the C types of these calls must come from one module alone, without NIO beside
/// it.
public enum FolderSafety {
    /// Whether every user of this machine may read or write the file. `false` when there is none.
    public static func isOpenToOthers(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & 0o007 != 0
    }

    /// The name of something in the folder that is not called `ignored`; `nil` when there is nothing else, or the folder
    /// cannot be read.
    public static func anyName(in path: String, except ignored: String) -> String? {
        firstName(in: path) { $0 != ignored }
    }

    /// Everything in the folder, in no order; empty when it cannot be read.
    public static func names(in path: String) -> [String] {
        var names: [String] = []
        _ = firstName(in: path) {
            names.append($0)
            return false
        }
        return names
    }

    private static func firstName(in path: String, where isWanted: (String) -> Bool) -> String? {
        guard let folder = opendir(path) else { return nil }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != "..", isWanted(name) { return name }
        }
        return nil
    }
}
