import { type FileHandle, open } from 'node:fs/promises';

const STEP_BYTES = 1024 * 1024;

/**
 * Writes a part of a file again, as it reads. Where forcing it failed, the kernel takes its pages for
 * written, and the next attempt would succeed without a byte of them.
 */
export async function writeAgain(
  handle: FileHandle,
  path: string,
  from: number,
  to: number,
): Promise<void> {
  const source = await open(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(Math.min(STEP_BYTES, Math.max(to - from, 1)));
    for (let at = from; at < to; ) {
      const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, to - at), at);
      if (bytesRead === 0) throw new Error(`${path} ends at ${at}, before ${to}`);
      for (let done = 0; done < bytesRead; ) {
        done += (await handle.write(buffer, done, bytesRead - done, at + done)).bytesWritten;
      }
      at += bytesRead;
    }
  } finally {
    await source.close();
  }
}
