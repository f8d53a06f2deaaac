import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { View } from '../../pages.js';
import { call } from '../data/api.js';
import { link, now, overview, retryNow } from '../data/live.js';
import { place } from '../data/nav.js';
import { dismiss, notices } from '../data/notices.js';
import { loginNotice, may, who } from '../data/session.js';
import { isDark, toggleTheme } from '../data/theme.js';
import type { Role } from '../data/types.js';
import { count, duration, localTime, utcTime } from '../lib/format.js';
import { Button } from './basics.js';
import { Questions } from './dialog.js';
import { Icon, type IconName } from './icons.js';

interface NavItem {
  view: View;
  text: string;
  icon: IconName;
  role?: Role;
  /** How many wait there. */
  badge?: () => { value: number; tone: 'crit' | 'warn' | 'quiet'; what: string };
}

const NAV: readonly { title: string; items: readonly NavItem[] }[] = [
  {
    title: 'Watch',
    items: [
      { view: '', text: 'Overview', icon: 'overview' },
      {
        view: 'alerts',
        text: 'Alerts',
        icon: 'alert',
        badge: () => ({
          value: overview.value?.alerts.open ?? 0,
          tone: overview.value?.alerts.first[0]?.severity === 'critical' ? 'crit' : 'warn',
          what: 'open',
        }),
      },
      { view: 'rejects', text: 'Rejects', icon: 'reject' },
    ],
  },
  {
    title: 'Sensors',
    items: [
      { view: 'sensors', text: 'Sensors', icon: 'sensors' },
      {
        view: 'pending',
        text: 'Pending',
        icon: 'pending',
        badge: () => ({
          value: overview.value?.sensors.pending ?? 0,
          tone: 'warn',
          what: 'waiting',
        }),
      },
      { view: 'add', text: 'Add a sensor', icon: 'add', role: 'operator' },
      { view: 'blocks', text: 'Blocks', icon: 'blocks' },
    ],
  },
  {
    title: 'Gateway',
    items: [
      { view: 'relays', text: 'Relays and spools', icon: 'relays' },
      { view: 'audit', text: 'Audit', icon: 'audit', role: 'operator' },
      { view: 'settings', text: 'Settings', icon: 'settings' },
    ],
  },
];

/** What stands around every view. */
export function Shell({ children }: { children: ComponentChildren }) {
  const [isOpen, setOpen] = useState(false);
  const { path } = place.value;
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    setOpen(false);
    if (isFirst.current) isFirst.current = false;
    else main.current?.querySelector('h1')?.focus({ preventScroll: true });
  }, [path]);
  useHotkeys();
  useEffect(() => {
    if (!isOpen) return;
    const press = ({ key }: KeyboardEvent) => {
      if (key === 'Escape') setOpen(false);
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  }, [isOpen]);
  return (
    <div class="shell">
      <a class="skip" href="#main">
        Skip to the content
      </a>
      <header class="top">
        <button
          type="button"
          class="icon-button menu-button"
          aria-expanded={isOpen}
          aria-controls="nav"
          aria-label="Menu"
          onClick={() => setOpen(!isOpen)}
        >
          <Icon name={isOpen ? 'close' : 'menu'} />
        </button>
        <a class="brand" href="/">
          d4-gateway
        </a>
        <Phase />
        <div class="top-right">
          <Clock />
          <ThemeButton />
          <User />
        </div>
      </header>
      <nav id="nav" class={isOpen ? 'nav open' : 'nav'} aria-label="Views">
        {NAV.map(({ title, items }) => (
          <div class="nav-group" key={title}>
            <p class="nav-title" id={`nav-${title}`}>
              {title}
            </p>
            <ul aria-labelledby={`nav-${title}`}>
              {items.map((item) => (
                <NavLink key={item.view} {...item} />
              ))}
            </ul>
          </div>
        ))}
      </nav>
      <main id="main" class="content" ref={main} tabIndex={-1}>
        <LinkBanner />
        {children}
      </main>
      <Notices />
      <Questions />
    </div>
  );
}

function NavLink({ view, text, icon, role, badge }: NavItem) {
  if (role !== undefined && !may(role)) return null;
  const { path } = place.value;
  const isCurrent = path.split('/')[1] === view;
  const { value, tone, what } = badge?.() ?? { value: 0, tone: 'quiet', what: '' };
  return (
    <li>
      <a href={`/${view}`} aria-current={isCurrent ? 'page' : undefined}>
        <Icon name={icon} />
        <span>{text}</span>
        {value > 0 && (
          <span class={`badge ${tone} nav-badge`}>
            {count(value)}
            <span class="hidden"> {what}</span>
          </span>
        )}
      </a>
    </li>
  );
}

function Phase() {
  const { kind } = link.value;
  const phase = overview.value?.gateway.phase;
  const [tone, text] =
    kind === 'away'
      ? ['crit', 'no connection']
      : kind === 'connecting'
        ? ['quiet', 'connecting']
        : phase === 'running'
          ? ['ok', 'live']
          : ['warn', phase ?? 'live'];
  return (
    <span class={`phase ${tone}`} data-link={kind}>
      <span class="dot" aria-hidden="true" />
      {text}
    </span>
  );
}

function Clock() {
  const at = now.value;
  return (
    <time class="clock num muted" title={`${localTime(at)} here`} dateTime={utcTime(at)}>
      {utcTime(at).slice(11, 19)} UTC
    </time>
  );
}

function ThemeButton() {
  const text = isDark.value ? 'Light theme' : 'Dark theme';
  return (
    <button type="button" class="icon-button" aria-label={text} title={text} onClick={toggleTheme}>
      <Icon name={isDark.value ? 'sun' : 'moon'} />
    </button>
  );
}

function User() {
  const own = who.value;
  if (!own) return null;
  const logout = async () => {
    try {
      await call('POST', '/api/v1/logout');
    } finally {
      loginNotice.value = 'You are logged out.';
      who.value = null;
    }
  };
  return (
    <>
      <span class="user" title={`Token ${own.name}, role ${own.role}`}>
        <span class="user-name">{own.name}</span>
        <span class="badge quiet">{own.role}</span>
      </span>
      <button
        type="button"
        class="icon-button"
        aria-label="Log out"
        title="Log out"
        onClick={() => void logout().catch(() => {})}
      >
        <Icon name="logout" />
      </button>
    </>
  );
}

/** Says that what is shown is old, and since when. */
function LinkBanner() {
  const state = link.value;
  const first = useRef<string | undefined>(undefined);
  const version = overview.value?.gateway.version;
  first.current ??= version;
  if (state.kind === 'away') {
    // Both are of this machine's clock, not of the gateway's.
    const local = Date.now();
    const wait = Math.max(Math.ceil((state.nextAt - local) / 1000), 0);
    void now.value;
    return (
      <div class="banner crit" role="alert">
        <span>
          The gateway has not answered for {duration((local - state.since) / 1000)}: what you see is
          old. Trying again {wait === 0 ? 'now' : `in ${wait} s`}.
        </span>
        <Button class="small" onClick={retryNow}>
          Try now
        </Button>
      </div>
    );
  }
  if (version !== undefined && version !== first.current) {
    return (
      <div class="banner info" role="status">
        <span>The gateway was updated to {version}.</span>
        <Button class="small" onClick={() => location.reload()}>
          Reload the page
        </Button>
      </div>
    );
  }
  return null;
}

function Notices() {
  return (
    <div class="notices" role="status" aria-live="polite">
      {notices.value.map(({ id, kind, text }) => (
        <div key={id} class={`notice ${kind}`}>
          <Icon name={kind === 'done' ? 'check' : 'alert'} />
          <span>{text}</span>
          <button
            type="button"
            class="icon-button"
            aria-label="Dismiss"
            onClick={() => dismiss(id)}
          >
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}

/** `/` goes to the view's search. */
function useHotkeys(): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey) return;
      if ((event.target as Element).closest('input, textarea, select, dialog')) return;
      const field = document.querySelector<HTMLInputElement>('[data-hotkey="/"]');
      if (!field) return;
      event.preventDefault();
      field.focus();
      field.select();
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  }, []);
}
