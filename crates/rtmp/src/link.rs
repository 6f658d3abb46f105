//! What both kinds of session do alike once the handshake is done: messages in,
//! messages out, and the talk about bytes and pings between them.

use bytes::Bytes;
use rml_rtmp::messages::RtmpMessage;

use crate::chunk::{ChunkReader, ChunkWriter};
use crate::command::Command;
use crate::message::{self, Message};
use crate::{Error, Limits};

/// The two directions of a connection after the handshake.
pub(crate) struct Link {
    reader: ChunkReader,
    writer: ChunkWriter,
    out: Vec<u8>,
    limits: Limits,
    /// Bytes after which the peer wants an acknowledgement.
    peer_window: Option<u32>,
    /// Bytes received when the last one was sent.
    acknowledged: u64,
    /// The window this side has announced.
    own_window: Option<u32>,
    /// The largest one it announces, whatever the peer asks for.
    most_window: u32,
    /// What the peer says it has received, and whether it ever said so.
    heard: Option<u64>,
}

impl Link {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            reader: ChunkReader::new(limits),
            writer: ChunkWriter::new(),
            out: Vec::new(),
            limits: limits.clone(),
            peer_window: None,
            acknowledged: 0,
            own_window: None,
            most_window: u32::MAX,
            heard: None,
        }
    }

    /// Takes the next message from the front of `input`. Those about the
    /// connection itself are dealt with; unknown ones are handed out and ignored
    /// by whoever gets them.
    pub(crate) fn message(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        while let Some(message) = self.reader.next(input)? {
            match (message.kind, message.body.first_chunk()) {
                (message::WINDOW_ACK_SIZE, Some(size)) => {
                    // 0 would ask for an acknowledgement of nothing.
                    self.peer_window = Some(u32::from_be_bytes(*size)).filter(|size| *size > 0);
                }
                (message::SET_PEER_BANDWIDTH, Some(size)) => {
                    self.announce_window(u32::from_be_bytes(*size))?;
                }
                (message::USER_CONTROL, _) => self.user_control(&message.body)?,
                (message::ACKNOWLEDGEMENT, Some(total)) => {
                    // The total modulo 2^32. One that goes back by less than half of
                    // that is nonsense, and none is taken for a wrap.
                    let before = self.heard.unwrap_or(0);
                    let on = u32::from_be_bytes(*total).wrapping_sub(before as u32);
                    if on <= u32::MAX / 2 {
                        self.heard = Some(before + u64::from(on));
                    }
                }
                _ => return Ok(Some(message)),
            }
        }
        Ok(None)
    }

    fn user_control(&mut self, body: &[u8]) -> Result<(), Error> {
        // All others inform: buffer lengths, ends of streams, and numbers that
        // only their vendors know.
        let Some(&[k1, k0, t3, t2, t1, t0]) = body.first_chunk() else {
            return Ok(());
        };
        if u16::from_be_bytes([k1, k0]) == message::PING_REQUEST {
            let time = u32::from_be_bytes([t3, t2, t1, t0]);
            self.control(message::ping_response(time))?;
        }
        Ok(())
    }

    /// Tells the peer how much has come in, when it is time to. Called once for
    /// every input, so a tiny window cannot ask for more than an answer each.
    pub(crate) fn acknowledge(&mut self) -> Result<(), Error> {
        let Some(window) = self.peer_window else {
            return Ok(());
        };
        let received = self.reader.offset();
        if received - self.acknowledged < u64::from(window) {
            return Ok(());
        }
        self.acknowledged = received;
        // The running total, modulo 2^32.
        self.control(RtmpMessage::Acknowledgement {
            sequence_number: received as u32,
        })
    }

    /// Tells the peer how much may be under way before it is acknowledged.
    pub(crate) fn announce_window(&mut self, size: u32) -> Result<(), Error> {
        let size = size.min(self.most_window);
        if self.own_window == Some(size) {
            return Ok(());
        }
        self.own_window = Some(size);
        self.control(RtmpMessage::WindowAcknowledgement { size })
    }

    /// Announces windows of `size` bytes at most.
    pub(crate) fn limit_window(&mut self, size: u32) {
        self.most_window = size;
    }

    /// Sends in chunks of `size` bytes (1 to 2^31 - 1) from here on.
    pub(crate) fn set_chunk_size(&mut self, size: u32) -> Result<(), Error> {
        let size = size.clamp(1, i32::MAX as u32);
        self.control(RtmpMessage::SetChunkSize { size })?;
        self.writer.set_chunk_size(size);
        Ok(())
    }

    /// Sends a control message.
    pub(crate) fn control(&mut self, message: RtmpMessage) -> Result<(), Error> {
        let (kind, body) = message::control(message)?;
        self.writer
            .write(&mut self.out, CONTROL_CSID, (kind, 0, 0), &body)
    }

    /// Sends a command on message stream `stream`.
    pub(crate) fn command(
        &mut self,
        csid: u8,
        stream: u32,
        command: &Command,
    ) -> Result<(), Error> {
        let header = (message::COMMAND, stream, 0);
        self.writer
            .write(&mut self.out, csid, header, &command.to_bytes())
    }

    /// Sends a message as it is.
    pub(crate) fn send(
        &mut self,
        csid: u8,
        header: (u8, u32, u32),
        body: &[u8],
    ) -> Result<(), Error> {
        self.writer.write(&mut self.out, csid, header, body)
    }

    /// Reads the command in `message`; `None` when it is another type.
    pub(crate) fn read_command(&self, message: &Message) -> Result<Option<Command>, Error> {
        let body = match message.kind {
            message::COMMAND => message.body.clone(),
            message::COMMAND_AMF3 => message::without_amf3_byte(message.body.clone()),
            _ => return Ok(None),
        };
        Command::parse(&body, &self.limits.command)
            .map(Some)
            .map_err(|source| Error::Command {
                offset: self.offset(),
                source,
            })
    }

    /// Adds bytes that are not chunks: the handshake's.
    pub(crate) fn raw(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// What has to be written, if anything.
    pub(crate) fn take_output(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| Bytes::from(std::mem::take(&mut self.out)))
    }

    /// Grants the message sizes of a publisher.
    pub(crate) fn allow_media(&mut self) {
        self.reader.allow_media(&self.limits);
    }

    /// Bytes that the peer has said it received; `None` when it never said so.
    pub(crate) fn heard(&self) -> Option<u64> {
        self.heard
    }

    /// Bytes received since the handshake.
    pub(crate) fn offset(&self) -> u64 {
        self.reader.offset()
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed {
            offset: self.offset(),
            what,
        }
    }
}

/// Chunk stream of control messages, fixed by the specification.
const CONTROL_CSID: u8 = 2;
/// Chunk stream of commands about the connection.
pub(crate) const COMMAND_CSID: u8 = 3;
