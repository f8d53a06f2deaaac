import { userInfo } from 'node:os';
import type { Actor } from '../audit/entry.js';

/** Who runs this command, for the audit trail. */
export function cliActor(): Actor {
  return { kind: 'cli', name: userName(), from: 'local' };
}

/** A user id that the system has no name for is a number, as in many containers. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? '?'}`;
  }
}
