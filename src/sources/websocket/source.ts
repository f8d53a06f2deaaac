import type { Duplex } from 'node:stream';
import { LINK_PATH } from '../../config/schema.js';
import { End, endName, Reject, type RejectCode } from '../../wire/reject.js';
import type { Connection, Origin } from '../connection.js';
import { Close, type WebSocketFault } from './frames.js';
import { SensorStream, type StreamEnding } from './sensor-stream.js';
import { shown, type UpgradeRequest, Upgrades } from './upgrade.js';

export interface WebSocketEvents {
  /** Takes the bytes of a sensor's messages, as `Intake.accept` does. */
  accept(stream: Duplex, origin: Origin): Readonly<Connection> | undefined;
  /** Ends a session with a reject, as `Intake.end` does. */
  end(connection: Readonly<Connection>, code: RejectCode, detail: string): void;
  /** Takes another gateway's request for a link; undefined where there are none. */
  link?: (request: UpgradeRequest) => void;
  /** A connection ended before it was a WebSocket. */
  failed(code: RejectCode, origin: Origin, detail: string): void;
}

/**
 * The WebSocket side of one listener in a worker: takes sockets whose TLS handshake is done, and
 * hands on the plain D4 stream in a sensor's binary messages. From there on it is a session like any
 * other.
 */
export class WebSocketSource {
  readonly #path: string;
  readonly #events: WebSocketEvents;
  readonly #upgrades: Upgrades;

  /** @param timeoutMs from the end of the TLS handshake to a whole upgrade request */
  constructor(path: string, timeoutMs: number, events: WebSocketEvents) {
    this.#path = path;
    this.#events = events;
    this.#upgrades = new Upgrades(timeoutMs, {
      upgraded: (request) => this.#upgraded(request),
      failed: (code, origin, detail) => events.failed(code, origin, detail),
    });
  }

  take(socket: Duplex, origin: Origin): void {
    this.#upgrades.take(socket, origin);
  }

  #upgraded(request: UpgradeRequest): void {
    if (request.path === LINK_PATH && this.#events.link) {
      this.#events.link(request);
      return;
    }
    if (request.path !== this.#path) {
      const detail = `no WebSocket at ${shown(request.path)}; sensors use ${this.#path}`;
      request.refuse(404, Reject.WRONG_PATH, detail);
      return;
    }
    request.accept();
    let connection: Readonly<Connection> | undefined;
    const stream = new SensorStream(
      request.socket,
      (fault) => {
        if (connection) this.#events.end(connection, rejectOf(fault), fault.message);
      },
      () => endingOf(connection),
    );
    connection = this.#events.accept(stream, request.origin);
    if (request.head.length > 0) stream.feed(request.head);
  }
}

function rejectOf({ closeCode }: WebSocketFault): RejectCode {
  return closeCode === Close.UNSUPPORTED_DATA ? Reject.TEXT_MESSAGE : Reject.BAD_WEBSOCKET;
}

/**
 * What a client is told of the end of its session. Of what was wrong with its frames it learns the
 * reason; not whether a sensor is known, or a key right.
 */
function endingOf(connection: Readonly<Connection> | undefined): StreamEnding {
  const code = connection?.ending?.code;
  switch (code) {
    case undefined:
      return { code: Close.TRY_AGAIN, reason: 'too many connections' };
    case End.DRAINED:
      return { code: Close.GOING_AWAY, reason: 'the gateway is stopping' };
    case End.CLOSED:
    case End.RESET:
      return { code: Close.NORMAL, reason: '' };
    case End.REPLACED:
      return { code: Close.POLICY, reason: endName(code) };
    case Reject.TEXT_MESSAGE:
      return { code: Close.UNSUPPORTED_DATA, reason: endName(code) };
    case Reject.BAD_WEBSOCKET:
      return { code: Close.PROTOCOL_ERROR, reason: endName(code) };
    case Reject.TOO_LARGE:
      return { code: Close.TOO_BIG, reason: endName(code) };
    default:
      return { code: Close.POLICY, reason: isAboutTrust(code) ? 'refused' : endName(code) };
  }
}

function isAboutTrust(code: number): boolean {
  return code >= Reject.UNKNOWN_SENSOR && code <= Reject.BAD_HMAC;
}
