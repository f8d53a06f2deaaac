import { Title } from '../parts/basics.js';

export function Rejects() {
  return <Title text="Rejects" />;
}
