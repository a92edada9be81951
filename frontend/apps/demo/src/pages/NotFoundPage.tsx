import { Link } from 'react-router';

export function NotFoundPage() {
  return (
    <section className="card notice">
      <h1>There is no such page</h1>
      <p>
        <Link to="/">To the start</Link>
      </p>
    </section>
  );
}
