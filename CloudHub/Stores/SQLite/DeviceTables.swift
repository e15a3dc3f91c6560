extension HubSchema {
    /// What hangs on an identity: twin, stored subscriptions, last activity, cloud-to-device queue. All but the outcomes
    /// goes with its device. `module` is empty for the device itself. Times are milliseconds since 1970.
    static let devicesMigration = Migration(
        "twins, sessions and cloud-to-device queues",
        sql: """
            CREATE TABLE twin (
                device TEXT NOT NULL REFERENCES device(id) ON DELETE CASCADE,
                module TEXT NOT NULL,
                document TEXT NOT NULL,
                PRIMARY KEY (device, module)
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE session (
                device TEXT NOT NULL REFERENCES device(id) ON DELETE CASCADE,
                module TEXT NOT NULL,
                subscriptions TEXT NOT NULL,
                PRIMARY KEY (device, module)
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE activity (
                device TEXT NOT NULL REFERENCES device(id) ON DELETE CASCADE,
                module TEXT NOT NULL,
                connectionChanged INTEGER NOT NULL,
                lastActivity INTEGER NOT NULL,
                PRIMARY KEY (device, module)
            ) STRICT, WITHOUT ROWID;
            CREATE TABLE c2d (
                sequence INTEGER PRIMARY KEY AUTOINCREMENT,
                device TEXT NOT NULL REFERENCES device(id) ON DELETE CASCADE,
                token TEXT NOT NULL UNIQUE,
                messageID TEXT NOT NULL,
                bag TEXT NOT NULL,
                payload BLOB NOT NULL,
                expires INTEGER NOT NULL,
                deliveries INTEGER NOT NULL DEFAULT 0,
                wantsOutcome INTEGER NOT NULL
            ) STRICT;
            CREATE INDEX c2d_of_device ON c2d (device, sequence);
            CREATE INDEX c2d_by_expiry ON c2d (expires);
            CREATE TABLE c2d_outcome (
                sequence INTEGER PRIMARY KEY AUTOINCREMENT,
                token TEXT NOT NULL UNIQUE,
                device TEXT NOT NULL,
                messageID TEXT NOT NULL,
                kind TEXT NOT NULL
            ) STRICT;
            CREATE TRIGGER c2d_purged_with_its_device BEFORE DELETE ON device BEGIN
                INSERT INTO c2d_outcome (token, device, messageID, kind)
                SELECT token, device, messageID, 'purged' FROM c2d WHERE device = OLD.id AND wantsOutcome;
            END;
            """)

    /// How often an ended message had been handed over: whether its device can have had it.
    static let deliveriesMigration = Migration(
        "deliveries of ended messages",
        sql: """
            ALTER TABLE c2d_outcome ADD COLUMN deliveries INTEGER NOT NULL DEFAULT 0;
            DROP TRIGGER c2d_purged_with_its_device;
            CREATE TRIGGER c2d_purged_with_its_device BEFORE DELETE ON device BEGIN
                INSERT INTO c2d_outcome (token, device, messageID, kind, deliveries)
                SELECT token, device, messageID, 'purged', deliveries FROM c2d WHERE device = OLD.id AND wantsOutcome;
            END;
            """)

    /// Locks of messages that were received over HTTPS, and what senders are told of the ends of theirs.
    static let queueMigration = Migration(
        "locks and feedback of cloud-to-device messages",
        sql: """
            ALTER TABLE c2d ADD COLUMN enqueued INTEGER NOT NULL DEFAULT 0;
            ALTER TABLE c2d ADD COLUMN ack TEXT NOT NULL DEFAULT 'none';
            ALTER TABLE c2d ADD COLUMN generation TEXT NOT NULL DEFAULT '';
            ALTER TABLE c2d ADD COLUMN lock TEXT;
            ALTER TABLE c2d ADD COLUMN lockedUntil INTEGER;
            CREATE INDEX c2d_by_lock ON c2d (lockedUntil) WHERE lockedUntil IS NOT NULL;
            CREATE TABLE c2d_feedback (
                sequence INTEGER PRIMARY KEY AUTOINCREMENT,
                device TEXT NOT NULL,
                generation TEXT NOT NULL,
                messageID TEXT NOT NULL,
                kind TEXT NOT NULL,
                at INTEGER NOT NULL,
                lock TEXT,
                lockedUntil INTEGER
            ) STRICT;
            CREATE INDEX c2d_feedback_by_lock ON c2d_feedback (lock) WHERE lock IS NOT NULL;
            DROP TRIGGER c2d_purged_with_its_device;
            CREATE TRIGGER c2d_purged_with_its_device BEFORE DELETE ON device BEGIN
                INSERT INTO c2d_outcome (token, device, messageID, kind, deliveries)
                SELECT token, device, messageID, 'purged', deliveries FROM c2d WHERE device = OLD.id AND wantsOutcome;
                INSERT INTO c2d_feedback (device, generation, messageID, kind, at)
                SELECT device, generation, messageID, 'purged', CAST(strftime('%s', 'now') AS INTEGER) * 1000
                FROM c2d WHERE device = OLD.id AND ack IN ('negative', 'full');
            END;
            """)
}
