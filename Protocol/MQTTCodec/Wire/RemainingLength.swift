/// The length of a packet's body: seven bits a byte, lowest first, the high bit says "more follows".
/// Source: MQTT 3.1.1 section 2.2.3, table 2.4.
enum RemainingLength {
    static let valueMax = 268_435_455
    static let bytesMax = 4
}
