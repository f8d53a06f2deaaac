import { useEffect, useState } from 'preact/hooks';
import { useQuery } from '../data/query.js';
import type { Certificate, Version } from '../data/types.js';
import {
  type ClientChoice,
  clientCommands,
  directoryFiles,
  directoryName,
  targetOf,
} from '../lib/client.js';
import { tarOf } from '../lib/tar.js';
import { Copy } from './basics.js';
import { Icon } from './icons.js';

/** What is needed to set a client up; the key is told this once. */
export function ClientSetup(props: {
  uuid: string;
  name: string;
  files: Readonly<Record<string, string>>;
  choice: ClientChoice;
}) {
  const { uuid, name, files, choice } = props;
  const { data: version } = useQuery<Version>('/api/v1/version');
  const { data: certificates } = useQuery<Certificate[]>('/api/v1/certificates');
  if (!version || !certificates) return <p class="muted">Loading…</p>;
  const target = targetOf(version.sources, certificates, location.hostname);
  const dir = directoryName(name, uuid);
  const all = directoryFiles(files, choice, target);
  return (
    <div class="stack setup">
      <div>
        <h3>1. Download the configuration directory</h3>
        <p>
          It holds the sensor’s key, which is shown nowhere again. Keep it as you would a password.
        </p>
        <Download dir={dir} files={all} />
      </div>
      <div>
        <h3>2. Unpack it on the sensor’s machine</h3>
        <Command text={`tar xf ${dir}.tar`} label="Copy the command that unpacks" />
      </div>
      <div>
        <h3>3. Send a stream, with the client that you have</h3>
        {target === undefined ? (
          <p>This gateway has neither a TLS nor a TCP listener: see its configuration.</p>
        ) : (
          clientCommands(dir, choice, target).map(({ name: client, text, note }) => (
            <div key={client} class="client">
              <h4>{client}</h4>
              <Command text={text} label={`Copy the command of ${client}`} />
              <p class="hint">{note}</p>
            </div>
          ))
        )}
      </div>
      <p>
        Its first frame shows on <a href={`/sensors/${uuid}`}>the sensor’s page</a> within seconds;
        why it is refused, if it is, stands there too.
      </p>
    </div>
  );
}

export function Command({ text, label }: { text: string; label: string }) {
  return (
    <div class="command">
      <pre>{text}</pre>
      <Copy text={text} label={label} />
    </div>
  );
}

function Download({ dir, files }: { dir: string; files: Readonly<Record<string, string>> }) {
  const [href, setHref] = useState<string>();
  const content = JSON.stringify(files);
  useEffect(() => {
    const tar = tarOf(dir, JSON.parse(content), Math.floor(Date.now() / 1000));
    const url = URL.createObjectURL(new Blob([tar], { type: 'application/x-tar' }));
    setHref(url);
    return () => URL.revokeObjectURL(url);
  }, [dir, content]);
  if (href === undefined) return null;
  return (
    <a class="button primary" href={href} download={`${dir}.tar`}>
      <Icon name="download" />
      Download {dir}.tar
    </a>
  );
}
