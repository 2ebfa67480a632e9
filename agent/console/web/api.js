// Questions to the agent. When the session is over, the browser is sent to sign in and comes back to the same place.

export class Failure extends Error {}

let leaving = false; // signing out: that the session is over is no reason to sign in

function signIn() {
  if (leaving) return new Promise(() => {});
  const last = Number(sessionStorage.getItem('signed-in-again') || 0);
  sessionStorage.setItem('place', location.hash);
  if (Date.now() - last < 20000) throw new Failure('Your session is over, and signing in again did not help. Does the browser keep cookies of this site?');
  sessionStorage.setItem('signed-in-again', String(Date.now()));
  location.assign('login');
  return new Promise(() => {}); // nothing goes on here
}

export async function ask(question, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value !== null && value !== undefined) query.set(key, value);
  let answer;
  try {
    answer = await fetch(`api/${question}?${query}`, { signal, credentials: 'same-origin', headers: { accept: 'application/json' } });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure('The agent cannot be reached. Retrying when you change something.');
  }
  if (answer.status === 401) return signIn();
  if (answer.ok) return answer.json();
  const { error } = await answer.json().catch(() => ({ error: `the agent answered ${answer.status}` }));
  throw new Failure(error);
}

export async function signOut() {
  leaving = true;
  const answer = await fetch('logout', { method: 'POST', credentials: 'same-origin', headers: { 'x-tollgate-console': '1' } }).catch(() => null);
  leaving = answer !== null && answer.ok;
  if (!leaving) throw new Failure('Signing out did not work.');
  location.assign('signed-out');
}

export { signIn };
