//! Working records off one by one, with a place for those that cannot be.

use std::fmt::Display;

use super::GroupConsumer;
use super::dead_letters::{DeadLetters, ProcessError, Processed};
use super::record::GroupRecord;

impl GroupConsumer {
    /// Takes the next record and has `work` work it off: as often as `dead_letters` has it, and if no attempt succeeds the
    /// record is stored in the dead-letter topic. Only then, or once an attempt has succeeded, is it done with. `None` as
    /// from [`next`](Self::next).
    ///
    /// After an error, and if it is dropped, the record is handed out again, with all its attempts; its partition waits
    /// for it.
    ///
    /// ```no_run
    /// # async fn example(client: sealstream_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// # async fn charge(_: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
    /// use sealstream_client::group::{DeadLetters, Processed};
    ///
    /// let failed = client.producer("orders.failed").open().await?;
    /// let dead_letters = DeadLetters::builder(failed).attempts(5).build()?;
    /// let mut consumer = client.group_consumer("billing").topic("orders").open().await?;
    /// while let Some(processed) =
    ///     consumer.process(&dead_letters, async |record| charge(&record.value).await).await
    /// {
    ///     if let Processed::DeadLettered { error, stored, .. } = processed? {
    ///         eprintln!("put aside at offset {}: {error}", stored.offset);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn process<E: Display>(
        &mut self,
        dead_letters: &DeadLetters,
        mut work: impl AsyncFnMut(&GroupRecord) -> Result<(), E>,
    ) -> Option<Result<Processed, ProcessError>> {
        if self.handle.topics().iter().any(|topic| topic == dead_letters.topic()) {
            let topic = dead_letters.topic().to_owned();
            return Some(Err(ProcessError::OwnTopic { topic }));
        }
        let record = match self.next().await? {
            Ok(record) => record,
            Err(error) => return Some(Err(error.into())),
        };
        if let Some(in_hand) = &mut self.in_hand {
            in_hand.by_work = true;
        }
        let processed = match dead_letters.try_out(&record, &mut work).await {
            Ok(attempts) => Ok(Processed::Done { attempts }),
            Err(error) => dead_letters.put_aside(self.handle.group(), &record, error).await,
        };
        if let Some(in_hand) = self.in_hand.as_mut().filter(|_| processed.is_ok()) {
            in_hand.by_work = false;
        }
        self.settle();
        Some(processed)
    }
}
