import { Title } from '../parts/basics.js';

export function Settings() {
  return <Title text="Settings" />;
}
