import type { FrameRef, Sink, SinkHost, SinkSession, SinkStream } from './sink.js';

/** Takes everything and keeps nothing: what it took counts as delivered. */
export class BlackholeSink implements Sink {
  readonly kind = 'blackhole';
  readonly name: string;
  readonly #host: SinkHost;

  constructor(name: string, host: SinkHost) {
    this.name = name;
    this.#host = host;
  }

  open(session: SinkSession): SinkStream {
    const continues = session.resume?.get(this.name)?.continues ?? false;
    return new BlackholeStream(this.#host, session, !continues);
  }

  async close(): Promise<void> {}
}

class BlackholeStream implements SinkStream {
  readonly #host: SinkHost;
  readonly #session: SinkSession;
  #isMetaDue: boolean;

  /** @param isNew it does not continue a stream that was delivered in part */
  constructor(host: SinkHost, session: SinkSession, isNew: boolean) {
    this.#host = host;
    this.#session = session;
    this.#isMetaDue = isNew && session.meta !== undefined;
  }

  write(frame: FrameRef): boolean {
    if (this.#isMetaDue) this.#deliverMeta();
    this.#host.delivered(this.#session, 1, frame.size);
    return true;
  }

  async end(): Promise<void> {
    if (this.#isMetaDue) this.#deliverMeta();
  }

  #deliverMeta(): void {
    const { frames, bytes } = this.#session.meta!;
    this.#host.delivered(this.#session, frames, bytes.length);
    this.#isMetaDue = false;
  }
}
