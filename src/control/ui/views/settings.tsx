import { useState } from 'preact/hooks';
import { call } from '../data/api.js';
import { notify } from '../data/notices.js';
import { useQuery } from '../data/query.js';
import type { Certificate, Version } from '../data/types.js';
import { configSections } from '../lib/config-rows.js';
import { bytes } from '../lib/format.js';
import { Button, Card, Fact, May, Missing, Time, Title } from '../parts/basics.js';
import { ask } from '../parts/dialog.js';
import { Search } from '../parts/field.js';
import { Table } from '../parts/table.js';

export function Settings() {
  const { data: config, error, refresh } = useQuery<Record<string, unknown>>('/api/v1/config');
  const [wanted, setWanted] = useState('');
  const reload = () =>
    ask({
      title: 'Reload the configuration?',
      text: 'The file, certificates and secrets are read anew. What is wrong is refused whole, and the old one stays in force; established connections stay.',
      action: 'Reload',
      run: async () => {
        const { changed } = await call<{ changed: string[] }>('POST', '/api/v1/reload');
        notify(
          'done',
          changed.length === 0 ? 'Nothing had changed.' : `In force: ${changed.join(', ')}.`,
        );
        await refresh();
      },
      done: 'The configuration was read anew.',
    });
  return (
    <>
      <Title
        text="Settings"
        note="The configuration in force, with its defaults, without secrets. It is changed in its file."
      >
        <May least="admin">
          <Button onClick={reload}>Reload</Button>
        </May>
      </Title>
      <Release />
      <search class="toolbar">
        <Search label="Find a key or a value" value={wanted} onText={setWanted} hotkey />
      </search>
      {config === undefined ? (
        <Missing error={error} />
      ) : (
        <Sections config={config} wanted={wanted.trim().toLowerCase()} />
      )}
    </>
  );
}

function Sections({ config, wanted }: { config: Record<string, unknown>; wanted: string }) {
  const sections = configSections(config, bytes)
    .map(({ name, rows }) => ({
      name,
      rows: rows.filter(({ path, value }) =>
        `${name}.${path} ${value}`.toLowerCase().includes(wanted),
      ),
    }))
    .filter(({ rows }) => rows.length > 0);
  if (sections.length === 0) return <p class="empty">No key fits.</p>;
  return (
    <div class="masonry">
      {sections.map(({ name, rows }) => (
        <Card key={name} title={name}>
          <dl class="facts config card-body">
            {rows.map(({ path, value }) => (
              <Fact key={path} label={path}>
                {value}
              </Fact>
            ))}
          </dl>
        </Card>
      ))}
    </div>
  );
}

function Release() {
  const { data: version } = useQuery<Version>('/api/v1/version');
  const { data: certificates } = useQuery<Certificate[]>('/api/v1/certificates');
  if (!version) return null;
  const rows = version.sources.map((source) => ({
    source,
    certificate: certificates?.find((one) => one.source === source),
  }));
  return (
    <Card
      title={`d4-gateway ${version.version}`}
      note={
        <>
          Node.js {version.node}, started <Time at={version.startedAt} form="full" />
        </>
      }
    >
      <Table
        caption="Listeners"
        rows={rows}
        keyOf={({ source }) => source}
        columns={[
          { name: 'Listener', cell: ({ source }) => <span class="mono wrap">{source}</span> },
          {
            name: 'Certificate',
            cell: ({ certificate }) =>
              certificate === undefined
                ? '–'
                : certificate.isSelfSigned
                  ? 'its own'
                  : 'of an authority',
          },
          {
            name: 'Valid until',
            cell: ({ certificate }) =>
              certificate === undefined ? '–' : <Time at={certificate.notAfter} form="full" />,
          },
        ]}
        empty="Nothing listens."
      />
    </Card>
  );
}
