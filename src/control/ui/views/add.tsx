import { useState } from 'preact/hooks';
import { ApiError, call, reasonOf } from '../data/api.js';
import type { WithKey } from '../data/types.js';
import { KNOWN_TYPES, typeName } from '../lib/types.js';
import { Button, Card, Title } from '../parts/basics.js';
import { Area, Choice, Field } from '../parts/field.js';
import { ClientSetup } from '../parts/key.js';

const TYPE_META = '2';
const TYPE_EXTENDED = '254';
const EXPECT_OPTIONS = [
  ['0', 'never'],
  ['300', 'it is silent for 5 minutes'],
  ['3600', 'it is silent for an hour'],
  ['86400', 'it is silent for a day'],
] as const;

const EMPTY = {
  name: '',
  type: '1',
  metaType: 'ja3-jl',
  groups: '',
  contact: '',
  description: '',
  expect: '0',
  uuid: '',
  key: '',
};
type Form = typeof EMPTY;

export function AddSensor() {
  const [added, setAdded] = useState<{ form: Form; answer: WithKey }>();
  if (!added) return <AddForm onAdded={(form, answer) => setAdded({ form, answer })} />;
  const { form, answer } = added;
  const { uuid } = answer.sensor;
  const files = answer.clientFiles;
  return (
    <>
      <Title text={`${form.name.trim() || uuid} is added`} note="It may send from now on.">
        <Button onClick={() => setAdded(undefined)}>Add another</Button>
        <a class="button" href={`/sensors/${uuid}`}>
          Its page
        </a>
      </Title>
      <Card title="Set its client up">
        <div class="card-body">
          {files === null ? (
            <p>
              You gave its key yourself, so its client has it: there is no directory to download.
            </p>
          ) : (
            <ClientSetup
              uuid={uuid}
              name={form.name}
              files={files}
              choice={{ type: Number(form.type), metaType: form.metaType }}
            />
          )}
        </div>
      </Card>
    </>
  );
}

function AddForm({ onAdded }: { onAdded: (form: Form, answer: WithKey) => void }) {
  const [form, setForm] = useState(EMPTY);
  const [problem, setProblem] = useState<{ field: string | undefined; text: string }>();
  const [busy, setBusy] = useState(false);
  const on = (name: keyof Form) => (value: string) => setForm({ ...form, [name]: value });
  const errorOf = (field: string) =>
    problem?.field?.split('.')[0] === field ? problem.text : undefined;
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(undefined);
    try {
      onAdded(form, await call<WithKey>('POST', '/api/v1/sensors', bodyOf(form)));
    } catch (error) {
      const field = error instanceof ApiError ? error.field : undefined;
      setProblem({ field, text: reasonOf(error) });
      setBusy(false);
    }
  };
  const isPlaced = problem?.field !== undefined && problem.field.split('.')[0]! in PLACED;
  return (
    <>
      <Title
        text="Add a sensor"
        note="Everything may be left as it is: UUID and key are made, and told once."
      />
      <Card title="The sensor" class="narrow">
        <form class="card-body stack" onSubmit={submit}>
          <Field
            label="Name"
            value={form.name}
            onText={on('name')}
            maxLength={64}
            hint="By which you find it here and in commands."
            error={errorOf('name')}
          />
          <Choice
            label="What it sends"
            value={form.type}
            options={KNOWN_TYPES.filter((type) => `${type}` !== TYPE_META).map(
              (type) => [`${type}`, typeName(type)] as const,
            )}
            onText={on('type')}
            hint="Written into its client’s directory. It may send other types too."
          />
          {form.type === TYPE_EXTENDED && (
            <Field
              label="Meta type"
              value={form.metaType}
              onText={on('metaType')}
              required
              hint="Named in its meta header; accepted are those of admission.metaTypes."
            />
          )}
          <Field
            label="Groups"
            value={form.groups}
            onText={on('groups')}
            hint="Separated by blanks, such as: blackhole lux. Routes and alerts choose by them."
            error={errorOf('groups')}
          />
          <Choice
            label="Alert when"
            value={form.expect}
            options={EXPECT_OPTIONS}
            onText={on('expect')}
          />
          <details>
            <summary>More: contact, description, a UUID and key that exist</summary>
            <div class="stack more">
              <Field
                label="Contact"
                value={form.contact}
                onText={on('contact')}
                maxLength={200}
                error={errorOf('contact')}
              />
              <Area
                label="Description"
                value={form.description}
                onText={on('description')}
                maxLength={1000}
                rows={2}
                error={errorOf('description')}
              />
              <Field
                label="UUID"
                value={form.uuid}
                onText={on('uuid')}
                placeholder="made"
                hint="Version 4, of a client that has one."
                error={errorOf('uuid')}
              />
              <Field
                label="Key"
                type="password"
                autocomplete="off"
                value={form.key}
                onText={on('key')}
                placeholder="made"
                hint="The HMAC key of a client that has one."
                error={errorOf('key')}
              />
            </div>
          </details>
          {problem && !isPlaced && (
            <p class="form-error" role="alert">
              {problem.text}
            </p>
          )}
          <div class="actions">
            <Button type="submit" kind="primary" disabled={busy}>
              Add the sensor
            </Button>
          </div>
        </form>
      </Card>
    </>
  );
}

/** Fields whose error stands beside them. */
const PLACED: Readonly<Record<string, true>> = {
  name: true,
  groups: true,
  contact: true,
  description: true,
  uuid: true,
  key: true,
};

function bodyOf(form: Form) {
  const { name, groups, contact, description, expect, uuid, key } = form;
  const given = (entries: Record<string, string>) =>
    Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== ''));
  return {
    ...given({
      name: name.trim(),
      contact: contact.trim(),
      description: description.trim(),
      uuid: uuid.trim(),
      key,
    }),
    groups: wordsOf(groups),
    expectSeconds: Number(expect),
  };
}

/** Words, by blanks or commas. */
export function wordsOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}
