import { useState } from 'preact/hooks';
import { call } from '../data/api.js';
import { go } from '../data/nav.js';
import { notify } from '../data/notices.js';
import type { Sensor, WithKey } from '../data/types.js';
import { Button } from '../parts/basics.js';
import { act, ask, Dialog, FormDialog } from '../parts/dialog.js';
import { Area, Choice, Field } from '../parts/field.js';
import { ClientSetup } from '../parts/key.js';
import { wordsOf } from './add.js';

const GRACE_OPTIONS = [
  ['86400', 'a day'],
  ['604800', 'a week'],
  ['3600', 'an hour'],
  ['0', 'not at all'],
] as const;

const pathOf = ({ uuid }: Sensor, action = '') =>
  `/api/v1/sensors/${uuid}${action === '' ? '' : `/${action}`}`;
const nameOf = ({ name, uuid }: Sensor) => name || uuid;

interface ActionProps {
  sensor: Sensor;
  onDone: () => Promise<void>;
}

/** What an operator may do with a sensor, by its state. */
export function SensorActions({ sensor, onDone }: ActionProps) {
  const [open, setOpen] = useState<'edit' | 'rotate'>();
  const close = () => setOpen(undefined);
  const decide = async (action: 'approve' | 'unblock', done: string) => {
    if (await act(() => call('POST', pathOf(sensor, action)), done)) await onDone();
  };
  const name = nameOf(sensor);
  return (
    <>
      {sensor.state === 'pending' && (
        <>
          <Button kind="primary" onClick={() => decide('approve', `${name} is approved.`)}>
            Approve
          </Button>
          <Button kind="danger" onClick={() => askReject(sensor)}>
            Reject
          </Button>
        </>
      )}
      {sensor.state === 'blocked' && (
        <Button kind="primary" onClick={() => decide('unblock', `${name} is no longer blocked.`)}>
          Unblock
        </Button>
      )}
      <Button onClick={() => setOpen('edit')}>Edit</Button>
      <Button onClick={() => setOpen('rotate')}>Rotate key</Button>
      {sensor.state !== 'blocked' && (
        <Button kind="danger" onClick={() => askBlock(sensor, onDone)}>
          Block
        </Button>
      )}
      <Button kind="danger" onClick={() => askRemove(sensor)}>
        Remove
      </Button>
      {open === 'edit' && <EditDialog sensor={sensor} onClose={close} onDone={onDone} />}
      {open === 'rotate' && <RotateDialog sensor={sensor} onClose={close} onDone={onDone} />}
    </>
  );
}

function askReject(sensor: Sensor): void {
  ask({
    title: `Reject ${nameOf(sensor)}?`,
    text: 'It is forgotten. Whoever registered it may register it again.',
    action: 'Reject',
    danger: true,
    run: async () => {
      await call('POST', pathOf(sensor, 'reject'));
      go('/pending');
    },
    done: `${nameOf(sensor)} is rejected.`,
  });
}

function askBlock(sensor: Sensor, onDone: () => Promise<void>): void {
  ask({
    title: `Block ${nameOf(sensor)}?`,
    text: 'Its open sessions end within a second, and it is refused until it is unblocked. What it sent stays stored.',
    action: 'Block',
    danger: true,
    run: async () => {
      await call('POST', pathOf(sensor, 'block'));
      await onDone();
    },
    done: `${nameOf(sensor)} is blocked.`,
  });
}

function askRemove(sensor: Sensor): void {
  ask({
    title: `Remove ${nameOf(sensor)}?`,
    text: 'Its key and its record go, for good; what it sent stays stored. To keep it out for a while, block it.',
    action: 'Remove',
    danger: true,
    run: async () => {
      await call('DELETE', pathOf(sensor));
      go('/sensors');
    },
    done: `${nameOf(sensor)} is removed.`,
  });
}

function EditDialog({ sensor, onClose, onDone }: ActionProps & { onClose: () => void }) {
  const [form, setForm] = useState({
    name: sensor.name,
    contact: sensor.contact,
    description: sensor.description,
    groups: sensor.groups.join(' '),
    expect: `${sensor.expectSeconds}`,
  });
  const on = (name: keyof typeof form) => (value: string) => setForm({ ...form, [name]: value });
  const run = async () => {
    await call('PATCH', pathOf(sensor), {
      name: form.name.trim(),
      contact: form.contact.trim(),
      description: form.description.trim(),
      groups: wordsOf(form.groups),
      expectSeconds: Number(form.expect),
    });
    notify('done', 'Saved.');
    await onDone();
  };
  return (
    <FormDialog title={`Edit ${nameOf(sensor)}`} action="Save" run={run} onClose={onClose}>
      <Field label="Name" value={form.name} onText={on('name')} maxLength={64} />
      <Field
        label="Groups"
        value={form.groups}
        onText={on('groups')}
        hint="Separated by blanks. A session goes by those of its begin."
      />
      <Field label="Contact" value={form.contact} onText={on('contact')} maxLength={200} />
      <Area
        label="Description"
        value={form.description}
        onText={on('description')}
        maxLength={1000}
        rows={3}
      />
      <Field
        label="Alert when silent for, in seconds"
        type="number"
        min={0}
        value={form.expect}
        onText={on('expect')}
        hint="0: never."
      />
    </FormDialog>
  );
}

function RotateDialog({ sensor, onClose, onDone }: ActionProps & { onClose: () => void }) {
  const [grace, setGrace] = useState('86400');
  const [answer, setAnswer] = useState<WithKey>();
  const run = async () => {
    const body = { graceSeconds: Number(grace) };
    setAnswer(await call<WithKey>('POST', pathOf(sensor, 'rotate-key'), body));
    await onDone();
  };
  if (answer?.clientFiles) {
    const type = sensor.types[0] ?? 1;
    return (
      <Dialog title={`${nameOf(sensor)} has a new key`} onClose={onClose}>
        <ClientSetup
          uuid={sensor.uuid}
          name={sensor.name}
          files={answer.clientFiles}
          choice={{ type, metaType: 'ja3-jl' }}
        />
        <div class="dialog-actions">
          <Button kind="primary" onClick={onClose}>
            Done
          </Button>
        </div>
      </Dialog>
    );
  }
  return (
    <FormDialog
      title={`Give ${nameOf(sensor)} a new key?`}
      action="Rotate key"
      run={run}
      onClose={onClose}
      goesOn
    >
      <p>A key is made, and shown once. Its client has to be given it.</p>
      <Choice
        label="The old key stays valid for"
        value={grace}
        options={GRACE_OPTIONS}
        onText={setGrace}
      />
    </FormDialog>
  );
}
