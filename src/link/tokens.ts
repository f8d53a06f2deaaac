import { createHash, randomBytes } from 'node:crypto';
import { GatewayError } from '../errors.js';
import type { LinkStore } from './store.js';

const TOKEN_BYTES = 32;
const NAME_FORM = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** What is kept of a token. */
export function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/**
 * Makes the token of a gateway that is to link to this one.
 * @returns its text, which is kept nowhere
 * @throws GatewayError D4GW_E_LINK for a name that is none, or is taken
 */
export async function addToken(store: LinkStore, name: string): Promise<string> {
  if (!NAME_FORM.test(name)) {
    const form = "a letter or digit, then letters, digits, '.', '_', '-'; at most 64";
    throw new GatewayError('D4GW_E_LINK', `${JSON.stringify(name)} is no name: give ${form}`);
  }
  if (store.token(name)) {
    throw new GatewayError(
      'D4GW_E_LINK',
      `${name} has a token already: d4gw link remove ${name} first, or choose another name`,
    );
  }
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  await store.setToken(name, { hash: hashOf(token), createdAt: Date.now() });
  return token;
}

/**
 * Removes a token with its links.
 * @returns how many links it had
 * @throws GatewayError D4GW_E_LINK where there is none of that name
 */
export async function removeToken(store: LinkStore, name: string): Promise<number> {
  checkToken(store, name);
  return await store.removeToken(name);
}

/**
 * Forgets one link.
 * @throws GatewayError D4GW_E_LINK where there is none of that id
 */
export async function removeLink(store: LinkStore, link: string): Promise<void> {
  if (!store.link(link)) {
    throw new GatewayError('D4GW_E_LINK', `no link ${JSON.stringify(link)}: see link list`);
  }
  await store.removeLink(link);
}

/**
 * Gives the links of one token to another.
 * @returns how many
 * @throws GatewayError D4GW_E_LINK where one of them is none
 */
export async function rebind(store: LinkStore, from: string, to: string): Promise<number> {
  checkToken(store, from);
  checkToken(store, to);
  return await store.rebind(from, to);
}

function checkToken(store: LinkStore, name: string): void {
  if (store.token(name)) return;
  throw new GatewayError('D4GW_E_LINK', `no link token ${JSON.stringify(name)}: see link list`);
}
