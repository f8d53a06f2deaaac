import { randomBytes } from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { GatewayError } from '../errors.js';

const DIRECTORY_MODE = 0o750;
const FILE_MODE = 0o600;
/** Each further try follows another process's success. */
const LOCK_TRIES_MAX = 100;

/**
 * Creates a data directory where it is missing, and proves that it can be written to.
 * @returns its absolute path
 * @throws GatewayError D4GW_E_DATA_DIR
 */
export function prepareDataDir(dir: string): string {
  const path = resolve(dir);
  const probe = join(path, `.probe-${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    makeDirectory(path);
    writeFileSync(probe, 'd4gw', { mode: FILE_MODE, flag: 'wx' });
    rmSync(probe);
  } catch (error) {
    throw dataDirError(path, error);
  }
  return path;
}

/** `mkdirSync` with `recursive` never returns where a parent refuses with ENOENT, as /proc does. */
function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: DIRECTORY_MODE });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    if (code !== 'ENOENT' || existsSync(dirname(path))) throw error;
    makeDirectory(dirname(path));
    makeDirectory(path);
  }
}

/**
 * Makes this process the data directory's only gateway until it calls `release` or ends.
 *
 * `<dir>/lock/` holds numbered files; the owner of the highest one has the lock. A file names its
 * owner (and appears at once, with its content, by `link`); an empty file is a released lock, one
 * whose owner is gone a stale one. To take the lock is to create the next number:
 *
 *     7 (dead or empty)          7, 8 (mine)          8 (mine)
 *     ──────────────── link 8 ─▶ ──────────── tidy ─▶ ────────
 *
 * Two that saw the same 7 race for one name, and one gets it. One that saw 7 so long ago that 8
 * came and went creates 8 again, sees a higher number, and withdraws. The highest file is never
 * removed, so that numbers only grow.
 *
 * An owner is known by its process id, its start time and the boot: process ids come again. One in
 * another container's process namespace cannot be seen.
 *
 * @throws GatewayError D4GW_E_LOCKED while another process has the lock, D4GW_E_DATA_DIR where the
 *   directory does not allow it
 */
export function lockDataDir(dir: string): () => void {
  const path = resolve(dir);
  const directory = join(path, 'lock');
  const own = identity(process.pid);
  if (own === undefined) throw dataDirError(path, new Error('/proc is not there to tell by'));
  const draft = join(directory, `.${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    makeDirectory(directory);
    writeFileSync(draft, own, { mode: FILE_MODE, flag: 'wx' });
    const number = take(directory, draft);
    return () => {
      // Never another's, should an operator have removed our file.
      if (contentOf(directory, number) === own) truncateSync(join(directory, String(number)));
    };
  } catch (error) {
    throw error instanceof GatewayError ? error : dataDirError(path, error);
  } finally {
    if (existsSync(draft)) rmSync(draft);
  }
}

/** The process that is the data directory's gateway; undefined where none runs. */
export function lockOwner(dir: string): number | undefined {
  const directory = join(resolve(dir), 'lock');
  if (!existsSync(directory)) return undefined;
  const [highest] = numbers(directory);
  const owner = highest === undefined ? undefined : contentOf(directory, highest);
  return owner !== undefined && isAlive(owner) ? Number.parseInt(owner, 10) : undefined;
}

function take(directory: string, draft: string): number {
  for (let tries = 0; tries < LOCK_TRIES_MAX; tries++) {
    const [highest = 0, ...older] = numbers(directory);
    const owner = contentOf(directory, highest);
    if (owner !== undefined && isAlive(owner)) throw lockedError(directory, owner);
    const mine = highest + 1;
    if (!createdFrom(draft, join(directory, String(mine)))) continue;
    if (numbers(directory)[0] !== mine) {
      rmSync(join(directory, String(mine)), { force: true });
      continue;
    }
    for (const number of [highest, ...older]) {
      rmSync(join(directory, String(number)), { force: true });
    }
    return mine;
  }
  throw new Error('too many others try to lock it');
}

/** False where the name is taken. */
function createdFrom(draft: string, path: string): boolean {
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** The numbers of the lock's files, highest first. */
function numbers(directory: string): number[] {
  return readdirSync(directory)
    .filter((name) => /^[1-9]\d*$/.test(name))
    .map(Number)
    .sort((a, b) => b - a);
}

function contentOf(directory: string, number: number): string | undefined {
  try {
    return readFileSync(join(directory, String(number)), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** `pid start-time boot` of a running process; undefined where there is none. */
function identity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold anything. After it: state, then fields 4 and up (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTime] = [fields[0], fields[22 - 3]];
    if (state === 'Z' || state === 'X') return undefined;
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${pid} ${startTime} ${boot}\n`;
  } catch {
    return undefined;
  }
}

function isAlive(owner: string): boolean {
  const pid = Number.parseInt(owner, 10);
  return pid > 0 && identity(pid) === owner;
}

function lockedError(directory: string, owner: string): GatewayError {
  return new GatewayError(
    'D4GW_E_LOCKED',
    `${directory}: process ${Number.parseInt(owner, 10)} is a gateway on this data directory: stop it, or give this one another dataDir`,
  );
}

function dataDirError(path: string, error: unknown): GatewayError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new GatewayError(
    'D4GW_E_DATA_DIR',
    `the data directory ${path} is not usable (${code ?? message}): make it writable for this user, or set another dataDir`,
    { cause: error },
  );
}
