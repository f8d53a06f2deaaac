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
    const host = this.#host;
    const continues = session.resume?.get(this.name)?.continues ?? false;
    let isMetaDue = session.meta !== undefined && !continues;
    const deliverMeta = () => {
      if (isMetaDue) host.delivered(session, session.meta!.frames, session.meta!.bytes.length);
      isMetaDue = false;
    };
    return {
      write(frame: FrameRef): boolean {
        if (isMetaDue) deliverMeta();
        host.delivered(session, 1, frame.size);
        return true;
      },
      async end(): Promise<void> {
        deliverMeta();
      },
    };
  }

  async close(): Promise<void> {}
}
