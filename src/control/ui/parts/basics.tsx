import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { now } from '../data/live.js';
import { notify } from '../data/notices.js';
import { may } from '../data/session.js';
import type { Role } from '../data/types.js';
import { ago, localTime, percent, shortUuid, utcTime } from '../lib/format.js';
import { typeColor, typeName } from '../lib/types.js';
import { Icon } from './icons.js';

export type Tone = 'ok' | 'warn' | 'crit' | 'info' | 'quiet';

/** A state in a word: the colour only repeats it. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

/** A moment: how long ago, or in the viewer's zone; UTC at hand either way. */
export function Time({ at, form = 'ago' }: { at: string | null; form?: 'ago' | 'full' }) {
  if (at === null) return <span class="muted">never</span>;
  const ms = Date.parse(at);
  const title = form === 'ago' ? `${localTime(ms)} here\n${utcTime(ms)}` : `${utcTime(ms)}`;
  return (
    <time dateTime={at} title={title} class="nowrap">
      {form === 'ago' ? ago(ms, now.value) : localTime(ms)}
    </time>
  );
}

export function Card(props: {
  title: string;
  note?: ComponentChildren;
  actions?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}) {
  const { title, note, actions, children } = props;
  return (
    <section class={`card ${props.class ?? ''}`} aria-label={title}>
      <header class="card-head">
        <h2>{title}</h2>
        {note !== undefined && <span class="muted note">{note}</span>}
        {actions !== undefined && <div class="card-actions">{actions}</div>}
      </header>
      {children}
    </section>
  );
}

/** The head of a view. */
export function Title(props: {
  text: string;
  note?: ComponentChildren;
  children?: ComponentChildren;
}) {
  return (
    <div class="title">
      <div class="title-text">
        <h1 tabIndex={-1}>{props.text}</h1>
        {props.note !== undefined && <p class="muted">{props.note}</p>}
      </div>
      {props.children !== undefined && <div class="title-actions">{props.children}</div>}
    </div>
  );
}

/** What is shown only to who may do it. */
export function May({ least, children }: { least: Role; children: ComponentChildren }) {
  return may(least) ? children : null;
}

type ButtonProps = JSX.IntrinsicElements['button'] & { kind?: 'plain' | 'primary' | 'danger' };

export function Button({ kind = 'plain', class: own = '', ...rest }: ButtonProps) {
  return <button type="button" class={`button ${kind} ${own}`} {...rest} />;
}

/** A link to a sensor, by its name where it has one. */
export function SensorLink({ uuid, name }: { uuid: string; name?: string | undefined }) {
  return (
    <a href={`/sensors/${uuid}`} title={uuid} class={name ? '' : 'mono nowrap'}>
      {name || shortUuid(uuid)}
    </a>
  );
}

/** A D4 type with the colour that it has in charts. */
export function TypeTag({ type }: { type: number | string }) {
  return (
    <span class="type-tag">
      <span class="swatch" style={{ background: `var(${typeColor(type)})` }} aria-hidden="true" />
      {typeName(type)}
    </span>
  );
}

/** How full something is. @param ratio 0 to 1 */
export function Meter(props: { label: string; ratio: number; text?: string }) {
  const { label, ratio, text = percent(ratio) } = props;
  const tone = ratio >= 0.95 ? 'crit' : ratio >= 0.8 ? 'warn' : '';
  return (
    <span class="meter-line">
      <meter class={`meter ${tone}`} min={0} max={1} value={ratio} aria-label={label}>
        {text}
      </meter>
      <span class="num">{text}</span>
    </span>
  );
}

/** Where there is nothing to show, why, and what to do. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="empty">{children}</div>;
}

/** What stands in for data that is not there yet, or could not be had. */
export function Missing({ error }: { error: string | undefined }) {
  if (error === undefined) return <p class="empty">Loading…</p>;
  return (
    <p class="empty crit-text" role="alert">
      {error}
    </p>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), 2_000);
    } catch {
      // Without TLS a browser gives no clipboard.
      notify('failed', 'The browser lets no page copy here: select the text instead.');
    }
  };
  return (
    <Button class="small" onClick={copy} aria-label={copied ? `${label}: copied` : label}>
      <Icon name={copied ? 'check' : 'copy'} />
      {copied ? 'Copied' : 'Copy'}
    </Button>
  );
}

/** One figure, large; with a link, all of it is one. */
export function Stat(props: {
  label: string;
  value: ComponentChildren;
  note?: ComponentChildren;
  tone?: Tone;
  href?: string;
}) {
  const { label, value, note, tone = 'quiet', href } = props;
  return (
    <div class="stat">
      <dt>{href === undefined ? label : <a href={href}>{label}</a>}</dt>
      <dd class={`stat-value ${tone}-text`}>{value}</dd>
      {note !== undefined && <dd class="stat-note">{note}</dd>}
    </div>
  );
}

/** One line of a list of facts (`<dl class="facts">`). */
export function Fact(props: {
  label: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}) {
  const { label, class: own = '', children } = props;
  return (
    <div class="fact">
      <dt>{label}</dt>
      <dd class={own}>{children}</dd>
    </div>
  );
}
