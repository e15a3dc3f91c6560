import Glibc

/// A pseudo terminal in raw mode whose far end has a name. Closed, and its link removed, when it is given up.
final class PseudoTerminal: Sendable {
    /// Our end.
    let descriptor: Int32
    /// The far end, kept open so that a driver that closes it does not hang up the line.
    private let farDescriptor: Int32
    private let linkPath: String

    /// TIOCSPTLCK and TIOCGPTN of asm-generic/ioctls.h.
    private static let setLock: UInt = 0x4004_5431
    private static let getNumber: UInt = 0x8004_5430

    /// `nil` when the system has no pseudo terminal left or the link cannot be made.
    init?(linkPath: String) {
        let near = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        guard near >= 0 else { return nil }
        // What unlockpt and ptsname do; glibc hides both from Swift.
        var unlocked: Int32 = 0
        var number: UInt32 = 0
        guard ioctl(near, Self.setLock, &unlocked) == 0, ioctl(near, Self.getNumber, &number) == 0 else {
            close(near)
            return nil
        }
        let path = "/dev/pts/\(number)"
        let far = open(path, O_RDWR | O_NOCTTY)
        guard far >= 0 else {
            close(near)
            return nil
        }
        var settings = termios()
        tcgetattr(far, &settings)
        cfmakeraw(&settings)
        tcsetattr(far, TCSANOW, &settings)
        unlink(linkPath)
        guard symlink(path, linkPath) == 0 else {
            close(far)
            close(near)
            return nil
        }
        _ = fcntl(near, F_SETFD, FD_CLOEXEC)
        _ = fcntl(far, F_SETFD, FD_CLOEXEC)
        descriptor = near
        farDescriptor = far
        self.linkPath = linkPath
    }

    deinit {
        unlink(linkPath)
        close(farDescriptor)
        close(descriptor)
    }
}
