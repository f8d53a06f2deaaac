import { call } from '../data/api.js';
import { overview, recent } from '../data/live.js';
import type { Sink } from '../data/types.js';
import { bits, bytes, count, duration } from '../lib/format.js';
import { Button, Card, Empty, Fact, May, Meter, Missing, Time, Title } from '../parts/basics.js';
import { act, ask } from '../parts/dialog.js';
import { Icon } from '../parts/icons.js';
import { SinkState } from '../parts/sink.js';

export function Relays() {
  const sinks = overview.value?.sinks;
  return (
    <>
      <Title
        text="Relays and spools"
        note="Where streams go, what waits for it, and what stands in its way."
      />
      {sinks === undefined ? (
        <Missing error={undefined} />
      ) : sinks.length === 0 ? (
        <Empty>No sink is configured.</Empty>
      ) : (
        <div class="masonry">
          {[...sinks].sort(byNeed).map((sink) => (
            <SinkCard key={sink.name} sink={sink} />
          ))}
        </div>
      )}
    </>
  );
}

const NEED: Readonly<Record<Sink['state'], number>> = {
  failing: 0,
  stopped: 1,
  full: 2,
  leaving: 3,
  ok: 4,
};
/** What needs somebody, first; then relays, for they have most to tell. */
function byNeed(a: Sink, b: Sink): number {
  const rank = ({ state, kind }: Sink) => NEED[state] * 2 + (kind === 'relay' ? 0 : 1);
  return rank(a) - rank(b) || (a.name < b.name ? -1 : 1);
}

function SinkCard({ sink }: { sink: Sink }) {
  const { name, kind, state, spool, lagSeconds, lastError, delivered, dropped, figures } = sink;
  const rate = recent.rate(
    ({ sinks }) => sinks.find((one) => one.name === name)?.delivered.bytes ?? 0,
  );
  return (
    <Card
      title={name}
      note={
        <>
          {kind} <SinkState sink={sink} />
        </>
      }
      actions={
        <May least="admin">
          {state === 'stopped' ? (
            <Button class="small" kind="primary" onClick={() => resume(name)}>
              <Icon name="play" /> Resume
            </Button>
          ) : (
            <Button class="small" onClick={() => pause(name)}>
              <Icon name="pause" /> Pause
            </Button>
          )}
        </May>
      }
    >
      <dl class="facts card-body">
        {spool && (
          <Fact label="Spool">
            <Meter
              label={`Spool of ${name}`}
              ratio={spool.bytes / Math.max(spool.maxBytes, 1)}
              text={`${bytes(spool.bytes)} of ${bytes(spool.maxBytes)}`}
            />
          </Fact>
        )}
        {figures.waitingFrames !== undefined && (
          <Fact label="Waiting">
            {count(figures.waitingFrames)} frames, {bytes(figures.waitingBytes ?? 0)}
          </Fact>
        )}
        {(lagSeconds !== null || kind === 'relay') && (
          <Fact label="Lag">{lagSeconds === null ? 'none' : duration(lagSeconds)}</Fact>
        )}
        <Fact label="Takes">{bits(rate)}</Fact>
        <Fact label="Delivered">
          {bytes(delivered.bytes)}, {count(delivered.frames)} frames{' '}
          <span class="muted">since the start</span>
        </Fact>
        {Object.entries(dropped).map(([reason, amount]) => (
          <Fact key={reason} label={`Dropped: ${reason}`} class="warn-text">
            {bytes(amount.bytes)}, {count(amount.frames)} frames
          </Fact>
        ))}
        {Object.entries(figures)
          .filter(([figure]) => !figure.startsWith('waiting'))
          .map(([figure, value]) => (
            <Fact key={figure} label={wordsOf(figure)}>
              {/bytes/i.test(figure) ? bytes(value) : count(value)}
            </Fact>
          ))}
        <Fact label="Last error">
          {lastError === null ? (
            <span class="muted">none</span>
          ) : (
            <>
              {lastError.text}{' '}
              <span class="muted">
                <Time at={lastError.at} />
              </span>
            </>
          )}
        </Fact>
      </dl>
    </Card>
  );
}

/** `filesFinished` → `Files finished`. */
function wordsOf(figure: string): string {
  const words = figure.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return `${words.slice(0, 1).toUpperCase()}${words.slice(1)}`;
}

const pathOf = (name: string, action: string) =>
  `/api/v1/sinks/${encodeURIComponent(name)}/${action}`;

function pause(name: string): void {
  ask({
    title: `Pause ${name}?`,
    text: 'Nothing is lost: every session that feeds it is no longer read from, so its other sinks get nothing of it either. It ends with Resume, or when the gateway restarts.',
    action: 'Pause',
    danger: true,
    run: () => call('POST', pathOf(name, 'pause')),
    done: `${name} is paused.`,
  });
}

async function resume(name: string): Promise<void> {
  await act(() => call('POST', pathOf(name, 'resume')), `${name} goes on.`);
}
