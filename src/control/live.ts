import type { HttpRequest, HttpResponse, TemplatedApp, WebSocket } from 'uWebSockets.js';
import type { Overview } from './api/schemas.js';
import type { Gate } from './auth/gate.js';
import { HttpProblem, json } from './http/reply.js';
import { readRequest } from './http/request.js';
import { beginExchange, send } from './http/send.js';

export const LIVE_PATH = '/api/live';
const TOPIC = 'overview';
/** Pages that look at once. */
export const SOCKETS_MAX = 5_000;
/** A page that takes nothing is closed once so much waits for it. */
const BACKLOG_BYTES_MAX = 256 * 1024;
/** Pages have nothing to say. */
const MESSAGE_BYTES_MAX = 1_024;
const IDLE_SECONDS = 60;
/** Of the WebSocket's close: the session is over; there are too many pages. */
const CLOSE_UNAUTHORIZED = 4401;

interface Viewer {
  cookie: string;
}

/** What a page gets. After a `full` one each `delta` holds the members that changed since the last. */
export type LiveMessage =
  | { kind: 'full'; seq: number; overview: Overview }
  | { kind: 'delta'; seq: number; changed: Partial<Overview> };

/**
 * The overview over WebSockets: what changed, once a second at most, made once and sent to all. One
 * that is slow is closed, and begins anew when it comes back.
 */
export class LiveFeed {
  readonly #gate: Gate;
  readonly #sockets = new Set<WebSocket<Viewer>>();
  #seq = 0;
  #overview: Overview;
  /** The members of the overview as they were last sent, as JSON. */
  #texts = new Map<string, string>();

  constructor(gate: Gate, overview: Overview) {
    this.#gate = gate;
    this.#overview = overview;
    this.#changedIn(overview);
  }

  get viewers(): number {
    return this.#sockets.size;
  }

  /** @param ended called when a WebSocket has closed */
  extend(app: TemplatedApp, ended: () => void): void {
    app.ws<Viewer>(LIVE_PATH, {
      maxPayloadLength: MESSAGE_BYTES_MAX,
      maxBackpressure: BACKLOG_BYTES_MAX,
      closeOnBackpressureLimit: 1,
      idleTimeout: IDLE_SECONDS,
      sendPingsAutomatically: true,
      upgrade: (res, req, context) => this.#upgrade(res, req, context),
      open: (socket) => {
        this.#sockets.add(socket);
        socket.subscribe(TOPIC);
        socket.send(this.#full());
      },
      close: (socket) => {
        this.#sockets.delete(socket);
        ended();
      },
    });
  }

  /** The overview is another: those who look get what changed. */
  update(overview: Overview, publish: (topic: string, message: string) => void): void {
    const changed = this.#changedIn(overview);
    this.#overview = overview;
    this.#seq += 1;
    if (this.#sockets.size === 0) return;
    const message: LiveMessage = { kind: 'delta', seq: this.#seq, changed };
    publish(TOPIC, JSON.stringify(message));
  }

  /** Closes those whose session is over. */
  recheck(): void {
    for (const socket of this.#sockets) {
      const { cookie } = socket.getUserData();
      if (!this.#gate.stillHolds(cookie)) socket.end(CLOSE_UNAUTHORIZED, 'the session is over');
    }
  }

  #full(): string {
    const message: LiveMessage = { kind: 'full', seq: this.#seq, overview: this.#overview };
    return JSON.stringify(message);
  }

  #changedIn(overview: Overview): Partial<Overview> {
    const changed: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(overview)) {
      const text = JSON.stringify(value);
      if (this.#texts.get(name) === text) continue;
      this.#texts.set(name, text);
      changed[name] = value;
    }
    return changed as Partial<Overview>;
  }

  #upgrade(
    res: HttpResponse,
    req: HttpRequest,
    context: Parameters<HttpResponse['upgrade']>[4],
  ): void {
    const request = readRequest(req, res);
    try {
      if (this.#sockets.size >= SOCKETS_MAX) throw new HttpProblem(503, 'Too many pages look');
      const { cookie } = this.#gate.admitSocket(request);
      res.upgrade<Viewer>(
        { cookie },
        req.getHeader('sec-websocket-key'),
        req.getHeader('sec-websocket-protocol'),
        req.getHeader('sec-websocket-extensions'),
        context,
      );
    } catch (error) {
      const problem =
        error instanceof HttpProblem ? error.reply() : json(500, { status: 'error', reason: '' });
      void send(beginExchange(res), problem);
    }
  }
}
