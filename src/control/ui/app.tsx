import type { ComponentType } from 'preact';
import { useEffect } from 'preact/hooks';
import type { View } from '../pages.js';
import { ApiError, get } from './data/api.js';
import { place } from './data/nav.js';
import { may, who } from './data/session.js';
import type { Role, Who } from './data/types.js';
import { Empty, Title } from './parts/basics.js';
import { Shell } from './parts/shell.js';
import { AddSensor } from './views/add.js';
import { Alerts } from './views/alerts.js';
import { Audit } from './views/audit.js';
import { Blocks } from './views/blocks.js';
import { Login } from './views/login.js';
import { Overview } from './views/overview.js';
import { Pending } from './views/pending.js';
import { Rejects } from './views/rejects.js';
import { Relays } from './views/relays.js';
import { SensorPage } from './views/sensor.js';
import { Sensors } from './views/sensors.js';
import { Settings } from './views/settings.js';

/** What each path shows, and to whom. */
const PAGES: Readonly<Record<View, { name: string; view: ComponentType; role?: Role }>> = {
  '': { name: 'Overview', view: Overview },
  sensors: { name: 'Sensors', view: Sensors },
  pending: { name: 'Pending', view: Pending },
  add: { name: 'Add a sensor', view: AddSensor, role: 'operator' },
  relays: { name: 'Relays and spools', view: Relays },
  blocks: { name: 'Blocks', view: Blocks },
  rejects: { name: 'Rejects', view: Rejects },
  alerts: { name: 'Alerts', view: Alerts },
  audit: { name: 'Audit', view: Audit, role: 'operator' },
  settings: { name: 'Settings', view: Settings },
};

export function App() {
  useEffect(() => void findSession(), []);
  if (who.value === undefined) return <p class="starting">Loading…</p>;
  if (who.value === null) return <Login />;
  const [view, uuid] = place.value.path.split('/').slice(1);
  return (
    <Shell>
      {view === 'sensors' && uuid !== undefined ? (
        <SensorPage key={uuid} uuid={uuid} />
      ) : (
        <Current view={(view ?? '') as View} />
      )}
    </Shell>
  );
}

function Current({ view }: { view: View }) {
  const page = PAGES[view];
  const name = page?.name ?? 'Not found';
  useEffect(() => {
    document.title = `${name} · d4-gateway`;
  }, [name]);
  if (!page) return <Title text={name} note="There is no such view." />;
  if (page.role !== undefined && !may(page.role)) {
    return (
      <>
        <Title text={name} />
        <Empty>Your token’s role may not see this: it takes {page.role}.</Empty>
      </>
    );
  }
  return <page.view />;
}

/** After a reload the cookie still stands for a session, or it does not. */
async function findSession(): Promise<void> {
  try {
    who.value = await get<Who>('/api/v1/session');
  } catch (error) {
    who.value = null;
    if (error instanceof ApiError && error.status === 401) return;
  }
}
