//! Why a store did not do what it was asked for.

/// A store's refusal or failure, in words for a log: they name the place and
/// what would be right, and never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) why: String,
}

/// What whoever asked can do about a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Ask again: the network, a busy store, a damaged transfer.
    Passing,
    /// Nothing changes until somebody does: credentials, permissions, a bucket
    /// or folder that is not there, a wrong region or endpoint.
    Refused,
    /// There is no room, until somebody makes some.
    Full,
}

impl Fault {
    pub(in crate::record) fn passing(why: impl Into<String>) -> Self {
        Self::new(FaultKind::Passing, why)
    }

    pub(in crate::record) fn refused(why: impl Into<String>) -> Self {
        Self::new(FaultKind::Refused, why)
    }

    pub(in crate::record) fn new(kind: FaultKind, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { kind, why }
    }
}
