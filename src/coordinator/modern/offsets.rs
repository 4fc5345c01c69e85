//! Who may commit and fetch offsets: members, in their present epoch.

use super::request::{ErrorKind, GroupError};
use super::state::ModernState;

/// The first version of OffsetCommit that knows member epochs.
const OFFSET_COMMIT_WITH_EPOCHS: i16 = 9;

impl ModernState {
    /// Whether an OffsetCommit may go on. `epoch` is `generation_id_or_member_epoch`, `version`
    /// that of the request; `None` for commits of a transaction.
    pub fn check_commit(
        &self,
        member: &str,
        epoch: i32,
        version: Option<i16>,
    ) -> Result<(), GroupError> {
        // Tools and consumers that don't join groups: only while nobody else is there.
        if epoch < 0 && self.members().is_empty() {
            return Ok(());
        }
        let is_old = version.is_some_and(|version| version < OFFSET_COMMIT_WITH_EPOCHS);
        if let Some(found) = self.members().get(member)
            && is_old
            && !found.is_classic()
        {
            let message = "OffsetCommit version 9 or above must be used by members using the \
                           consumer group protocol.";
            return Err(GroupError::new(ErrorKind::UnsupportedVersion, message));
        }
        self.check_member_epoch(member, epoch)
    }

    /// Whether an OffsetFetch may go on. It may always if it names no member.
    pub fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), GroupError> {
        match member {
            None if epoch < 0 => Ok(()),
            None => Err(GroupError::unknown("")),
            Some(member) => self.check_member_epoch(member, epoch),
        }
    }

    fn check_member_epoch(&self, id: &str, found: i32) -> Result<(), GroupError> {
        let member = self.members().get(id).ok_or_else(|| GroupError::unknown(id))?;
        let expected = member.current.epoch;
        if found == expected {
            return Ok(());
        }
        Err(if member.is_classic() {
            let message = format!(
                "The received generation id {found} does not match the expected member epoch \
                 {expected}."
            );
            GroupError::new(ErrorKind::IllegalGeneration, message)
        } else {
            let message = format!(
                "The received member epoch {found} does not match the expected member epoch \
                 {expected}."
            );
            GroupError::new(ErrorKind::StaleMemberEpoch, message)
        })
    }
}
