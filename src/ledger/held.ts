import type { Intent } from './file-row.js';
import type { FileImage } from './journal-reader.js';
import type { Amount } from './totals.js';

/**
 * What a file that a dead process left holds of its session. An intent was journaled before each
 * write, and one write was under way at most, so the size on disk lies
 *
 *     previous.fileBytes  ≤  size  ≤  newest.fileBytes
 *
 * and says up to which intent whole frames are there. (After a power failure it may be smaller: the
 * page cache was lost.) Payload bytes are counted to the byte: those of the newest intent less
 * what the file's content, once repaired, is short of that intent's.
 */

/** The newest intent that a file of `size` bytes fulfils. */
export function fulfilled(intents: readonly Intent[], size: number): Intent | undefined {
  return intents.find((intent) => size >= intent.fileBytes);
}

/**
 * @param size of the file before it was repaired
 * @param payloadBytes bytes that the repaired file holds, before compression; undefined where
 *   unknown
 */
export function heldBy(file: FileImage, size: number, payloadBytes: number | undefined): Amount {
  const announced = file.intents[0];
  if (!announced) return { frames: 0, bytes: 0 };
  const done = fulfilled(file.intents, payloadBytes === 0 ? 0 : size);
  const missing = announced.contentBytes - (payloadBytes ?? announced.contentBytes);
  const bytes =
    payloadBytes === undefined ? (done?.bytes ?? 0) : announced.bytes - Math.max(missing, 0);
  return {
    frames: Math.max((done?.frames ?? 0) - file.framesBefore, 0),
    bytes: Math.max(bytes - file.bytesBefore, 0),
  };
}

/**
 * What a sink has delivered of a session: what it had before the oldest of the files that it left,
 * and what they hold. A file counts up to where the next begins: the end of a file may have been
 * copied to another and not yet cut off.
 * @param counted what the sink had counted as delivered. Where the files hold that much, its frames
 *   are there too: empty ones need no write, so no intent has them
 */
export function deliveredInto(
  files: readonly { file: FileImage; amount: Amount }[],
  counted: Readonly<Amount>,
): Amount {
  const inOrder = [...files].sort(
    ({ file: a }, { file: b }) => a.bytesBefore - b.bytesBefore || a.framesBefore - b.framesBefore,
  );
  const first = inOrder[0]!.file;
  const delivered = { frames: first.framesBefore, bytes: first.bytesBefore };
  for (const [index, { file, amount }] of inOrder.entries()) {
    const next = inOrder[index + 1]?.file;
    const frames = (next?.framesBefore ?? Number.POSITIVE_INFINITY) - file.framesBefore;
    const bytes = (next?.bytesBefore ?? Number.POSITIVE_INFINITY) - file.bytesBefore;
    delivered.frames += Math.min(amount.frames, frames);
    delivered.bytes += Math.min(amount.bytes, bytes);
  }
  if (delivered.bytes >= counted.bytes) {
    delivered.frames = Math.max(delivered.frames, counted.frames);
  }
  return delivered;
}
