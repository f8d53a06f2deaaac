import { useState } from 'preact/hooks';
import { withQuery } from '../data/api.js';
import { useQuery } from '../data/query.js';
import type { FilePage } from '../data/types.js';
import { bytes, count } from '../lib/format.js';
import { KNOWN_TYPES, typeName } from '../lib/types.js';
import { Badge, Button, Card, Missing, Time } from '../parts/basics.js';
import { Filter } from '../parts/field.js';
import { Icon } from '../parts/icons.js';
import { Table } from '../parts/table.js';

const PAGE = 20;
const REFRESH_MS = 15_000;

/** What is stored of a sensor, the newest first. */
export function Files({ uuid }: { uuid: string }) {
  const [offset, setOffset] = useState(0);
  const [type, setType] = useState('');
  const path = `/api/v1/sensors/${uuid}/files`;
  const { data, error } = useQuery<FilePage>(
    withQuery(path, { type, offset, limit: PAGE }),
    REFRESH_MS,
  );
  const href = (sink: string, file: string) => withQuery(`${path}/download`, { sink, path: file });
  return (
    <Card
      title="Files"
      note={data && filesText(data)}
      actions={
        <Filter
          label="Type of the files"
          value={type}
          options={[
            ['', 'All types'],
            ...KNOWN_TYPES.map((one) => [`${one}`, typeName(one)] as const),
          ]}
          onText={(value) => {
            setType(value);
            setOffset(0);
          }}
        />
      }
    >
      {data === undefined ? (
        <Missing error={error} />
      ) : (
        <Table
          caption="Stored files"
          rows={data.files}
          keyOf={({ sink, path: file }) => `${sink} ${file}`}
          columns={[
            {
              name: 'File',
              cell: ({ path: file, isOpen }) => (
                <span class="file-name">
                  <span class="mono">{file}</span>{' '}
                  {isOpen && <Badge tone="info">being written</Badge>}
                </span>
              ),
            },
            { name: 'Sink', priority: 1, cell: ({ sink }) => sink },
            { name: 'Size', isNumber: true, cell: (one) => bytes(one.bytes) },
            {
              name: 'Modified',
              priority: 1,
              cell: ({ modifiedAt }) => <Time at={modifiedAt} form="full" />,
            },
            {
              name: 'Download',
              isNumber: true,
              cell: ({ sink, path: file }) => (
                <a
                  class="button small"
                  href={href(sink, file)}
                  download={file.slice(file.lastIndexOf('/') + 1)}
                  aria-label={`Download ${file}`}
                >
                  <Icon name="download" />
                </a>
              ),
            },
          ]}
          empty="Nothing is stored of it."
        />
      )}
      {data !== undefined && data.total > PAGE && (
        <Pager offset={offset} page={PAGE} total={data.total} onOffset={setOffset} />
      )}
    </Card>
  );
}

function filesText({ total, isComplete }: FilePage): string {
  return `${isComplete ? '' : 'more than '}${count(total)}, the newest first`;
}

/** Steps through a list that is told page by page. */
export function Pager(props: {
  offset: number;
  page: number;
  total: number;
  onOffset: (offset: number) => void;
}) {
  const { offset, page, total, onOffset } = props;
  const last = Math.min(offset + page, total);
  return (
    <nav class="pager" aria-label="Pages">
      <span class="muted num">
        {count(offset + 1)} to {count(last)} of {count(total)}
      </span>
      <Button
        class="small"
        disabled={offset === 0}
        onClick={() => onOffset(Math.max(offset - page, 0))}
      >
        Newer
      </Button>
      <Button class="small" disabled={last >= total} onClick={() => onOffset(offset + page)}>
        Older
      </Button>
    </nav>
  );
}
