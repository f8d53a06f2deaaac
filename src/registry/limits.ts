import { randomBytes } from 'node:crypto';
import { GatewayError } from '../errors.js';
import { isSensorUuid } from '../wire/uuid.js';
import { normalizeAddress } from './address.js';

export const KEY_BYTES_MAX = 1024;
export const NAME_CHARS_MAX = 64;
export const CONTACT_CHARS_MAX = 200;
export const DESCRIPTION_CHARS_MAX = 1000;
export const GRACE_SECONDS_MAX = 366 * 86_400;
export const EXPECT_SECONDS_MAX = 366 * 86_400;
/** Groups of one sensor. */
export const GROUPS_MAX = 16;
/** A group's name stands in routes, in metrics and on the command line. */
export const GROUP_FORM = /^[a-z0-9][a-z0-9._-]{0,31}$/;
export const GROUP_EXPECTED =
  "a letter or digit, then letters, digits, '.', '_', '-'; lower case, at most 32";
export const NOTES_MAX = 20;
/** Of a note, and of a reject's detail; the rest is cut off. */
export const NOTE_CHARS_MAX = 200;
/** An address is held against each rule in turn. */
export const BLOCKED_ADDRESSES_MAX = 10_000;

const KEY_RANDOM_BYTES = 32;

/** A new HMAC key: 256 random bits as 64 hex digits, which every client and shell takes alike. */
export function generateKey(): Buffer {
  return Buffer.from(randomBytes(KEY_RANDOM_BYTES).toString('hex'), 'latin1');
}

/** @throws GatewayError D4GW_E_SENSOR for a key that is empty or too long */
export function checkKey(key: Buffer): Buffer {
  if (key.length === 0) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      'the key is empty, and anyone could sign with it: give one, or have one generated',
    );
  }
  if (key.length > KEY_BYTES_MAX) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `the key has ${key.length} bytes: at most ${KEY_BYTES_MAX} are taken`,
    );
  }
  return Buffer.from(key);
}

/** @throws GatewayError D4GW_E_SENSOR unless `uuid` is a version 4 UUID in canonical form */
export function checkUuid(uuid: string): string {
  if (!isSensorUuid(uuid)) {
    throw new GatewayError('D4GW_E_SENSOR', `${quote(uuid)} is not a version 4 UUID`);
  }
  return uuid;
}

/** A name stands in for a UUID or an address on the command line, so it must not look like one. */
export function checkName(name: string): string {
  checkText('name', name, NAME_CHARS_MAX);
  const address = normalizeAddress(name.split('/', 1)[0]!);
  if (isSensorUuid(name.toLowerCase()) || address) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `the name ${quote(name)} reads as a UUID or an address: choose another`,
    );
  }
  return name;
}

/**
 * Texts end up on terminals and in logs: none may hold control or format characters.
 * @throws GatewayError D4GW_E_SENSOR naming `field`
 */
export function checkText(field: string, text: string, charsMax: number): string {
  if (text.length > charsMax) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `the ${field} has ${text.length} characters: at most ${charsMax} are taken`,
    );
  }
  if (/[\p{C}\p{Zl}\p{Zp}]/u.test(text)) {
    throw new GatewayError('D4GW_E_SENSOR', `the ${field} holds control characters: remove them`);
  }
  if (text !== text.trim()) {
    throw new GatewayError('D4GW_E_SENSOR', `the ${field} begins or ends with blanks: remove them`);
  }
  return text;
}

/** @throws GatewayError D4GW_E_SENSOR unless it is a whole number of seconds up to a year */
export function checkGrace(seconds: number): number {
  if (!Number.isSafeInteger(seconds) || seconds < 0 || seconds > GRACE_SECONDS_MAX) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `a grace of ${seconds} seconds is not possible: give 0 to ${GRACE_SECONDS_MAX}`,
    );
  }
  return seconds;
}

/**
 * The groups of a sensor, each once, in the order of names.
 * @throws GatewayError D4GW_E_SENSOR for a name that is none, or too many
 */
export function checkGroups(groups: readonly string[]): string[] {
  const names = [...new Set(groups)].sort();
  const wrong = names.find((name) => !GROUP_FORM.test(name));
  if (wrong !== undefined) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `${quote(wrong)} is no name of a group: ${GROUP_EXPECTED}`,
    );
  }
  if (names.length > GROUPS_MAX) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `${names.length} groups: a sensor is in at most ${GROUPS_MAX}`,
    );
  }
  return names;
}

/** @throws GatewayError D4GW_E_SENSOR unless it is a whole number of seconds up to a year; 0: none */
export function checkExpect(seconds: number): number {
  if (!Number.isSafeInteger(seconds) || seconds < 0 || seconds > EXPECT_SECONDS_MAX) {
    throw new GatewayError(
      'D4GW_E_SENSOR',
      `a sensor cannot be expected every ${seconds} seconds: give 1 to ${EXPECT_SECONDS_MAX}, or 0 for never`,
    );
  }
  return seconds;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}
