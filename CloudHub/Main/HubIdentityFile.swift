import Primitives

/// The hub's own id: the namespace of every row that it makes in a CRM. Made once; it must outlive everything else.
enum HubIdentityFile {
    static func loadOrCreate(_ path: String) throws(CommandFailure) -> UniqueID {
        if let bytes = PrivateFile.read(path) {
            let text = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
            guard let id = UniqueID(text) else {
                throw .failed("\(path) holds no hub id; restore it from a backup, or every alert would be made again")
            }
            return id
        }
        var random = SystemRandomNumberGenerator()
        let id = UniqueID.random(using: &random)
        try PrivateFile.write(Array("\(id)\n".utf8), to: path)
        return id
    }
}
