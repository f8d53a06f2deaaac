import { effect, signal } from '@preact/signals';
import type { LiveMessage } from '../../live.js';
import { advance, type LiveState, retryMs } from '../lib/live-state.js';
import { Recent } from '../lib/recent.js';
import { ApiError, get } from './api.js';
import { sessionOver, who } from './session.js';
import type { Overview, Series, Who } from './types.js';

const PATH = '/api/live';
/** Of the gateway's close: log in again. */
const CLOSE_UNAUTHORIZED = 4401;
/** A link on which nothing came for so long is dead, whatever the browser thinks. */
const SILENCE_MS = 15_000;
const TICK_MS = 1_000;
/** A WebSocket is no request, without which a session ends: a page in sight asks this often. */
const KEEP_SESSION_MS = 30 * 60_000;

export type Link =
  | { kind: 'connecting' }
  | { kind: 'live' }
  | { kind: 'away'; since: number; nextAt: number };

/** The gateway's state as it was last told. */
export const overview = signal<Overview | undefined>(undefined);
export const link = signal<Link>({ kind: 'connecting' });
/** The gateway's clock, ms since the epoch, once a second. */
export const now = signal(Date.now());
/** Raised when a point was added to the hour. */
export const points = signal(0);
export const recent = new Recent();

let socket: WebSocket | undefined;
let state: LiveState | undefined;
let attempts = 0;
let heardAt = 0;
let askedAt = Date.now();
let skewMs = 0;
let retry: number | undefined;

/** Opens the link while somebody is logged in, and keeps it open. */
export function keepLive(): void {
  setInterval(tick, TICK_MS);
  effect(() => {
    if (who.value) begin();
    else forget();
  });
}

/** Tries at once. */
export function retryNow(): void {
  attempts = 0;
  begin();
}

function begin(): void {
  end();
  const own = new WebSocket(PATH);
  socket = own;
  heardAt = Date.now();
  own.onmessage = ({ data }) => {
    if (own === socket) take(JSON.parse(data as string) as LiveMessage);
  };
  own.onclose = ({ code }) => {
    if (own !== socket) return;
    socket = undefined;
    if (code === CLOSE_UNAUTHORIZED) sessionOver();
    else void lost();
  };
}

function end(): void {
  clearTimeout(retry);
  const own = socket;
  socket = undefined;
  own?.close();
  state = undefined;
}

/** Nobody is logged in: nothing of what was seen stays. */
function forget(): void {
  end();
  attempts = 0;
  overview.value = undefined;
  link.value = { kind: 'connecting' };
}

function take(message: LiveMessage): void {
  heardAt = Date.now();
  const next = advance(state, message);
  if (!next) {
    // One was left out: all of it anew.
    begin();
    return;
  }
  state = next;
  if (message.kind === 'full') {
    attempts = 0;
    recent.reset();
    void loadSeries();
  }
  skewMs = Date.parse(next.overview.at) - Date.now();
  if (recent.take(next.overview)) points.value += 1;
  overview.value = next.overview;
  if (link.value.kind !== 'live') link.value = { kind: 'live' };
  now.value = Date.now() + skewMs;
}

async function loadSeries(): Promise<void> {
  try {
    recent.load(await get<Series>('/api/v1/overview/series'));
    points.value += 1;
  } catch {
    // The charts begin empty; the link itself shows what is wrong.
  }
}

/** A refused upgrade tells a page nothing: only a plain request knows whether the session is over. */
async function lost(): Promise<void> {
  const wait = retryMs(attempts, Math.random());
  attempts += 1;
  const since = link.value.kind === 'away' ? link.value.since : Date.now();
  link.value = { kind: 'away', since, nextAt: Date.now() + wait };
  clearTimeout(retry);
  retry = window.setTimeout(() => void comeBack(), wait);
}

async function comeBack(): Promise<void> {
  try {
    await get<Who>('/api/v1/session');
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return;
    if (who.value) void lost();
    return;
  }
  if (who.value) begin();
}

function tick(): void {
  if (!document.hidden) {
    now.value = Date.now() + skewMs;
    if (who.value && Date.now() - askedAt > KEEP_SESSION_MS) {
      askedAt = Date.now();
      void get<Who>('/api/v1/session').catch(() => {});
    }
  }
  if (socket && Date.now() - heardAt > SILENCE_MS) {
    end();
    void lost();
  }
}
