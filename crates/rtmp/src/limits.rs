/// How much of a connection one peer may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest message of a publisher, in bytes. Default 4 MiB: a key frame at
    /// 50 Mbit/s is below 1 MiB. A header that declares more ends the session.
    pub message: usize,
    /// Bytes of unfinished messages over all chunk streams. Default 8 MiB: a key
    /// frame with sound interleaved needs little more than one message.
    pub partial: usize,
    /// Largest message, and bytes of unfinished ones, before the peer has asked
    /// to publish. Default 128 KiB: commands take under 2 KiB, and a thousand
    /// strangers must not hold gigabytes.
    pub before_publish: usize,
    /// Chunk streams in use. Default 64; encoders use fewer than ten.
    pub chunk_streams: usize,
    /// Bytes of media kept while the verdict on a publish request is out, from
    /// encoders that do not wait for it. Default 4 MiB. Stop reading the socket
    /// while a slow verdict is awaited and the limit is not met.
    pub held: usize,
    /// What a command or its answer may hold.
    pub command: amf0::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 4 * 1024 * 1024,
            partial: 8 * 1024 * 1024,
            before_publish: 128 * 1024,
            chunk_streams: 64,
            held: 4 * 1024 * 1024,
            command: amf0::Limits {
                depth: 32,
                values: 1024,
                string_bytes: 32 * 1024,
            },
        }
    }
}
