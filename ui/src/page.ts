/** Boots the page of `kdb ui`: takes the token out of the address, opens the connection, and renders into #kdb. */

import widget from "./index";
import { SocketModel } from "./host";
import { readFragment, writeFragment } from "./permalink";
import type { Place } from "./place";

async function boot(): Promise<void> {
  const el = document.getElementById("kdb")!;
  const { token, permalink } = readFragment(location.hash);
  // Taken out of the address before anything else: it must not stay in the history, nor be copied with the address.
  const bare = location.pathname + location.search;
  history.replaceState(null, "", permalink === null ? bare : bare + writeFragment(permalink));
  const here = `kdb ${location.pathname}${location.hash}`;
  if (token !== null) {
    // A refusal shows when the socket does not open, and is explained there.
    await fetch("session", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    }).catch(() => null);
  }

  const address = new URL("socket", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  address.hash = "";
  const answers = (): Promise<boolean> => fetch(bare, { method: "HEAD" }).then(({ ok }) => ok, () => false);
  const model = new SocketModel(() => new WebSocket(address) as never, answers);
  const place: Place = {
    permalink,
    kept: () => stored(() => sessionStorage.getItem(here)),
    keep: (text) => void stored(() => sessionStorage.setItem(here, text)),
    address: (link) => location.origin + bare + writeFragment(link),
    get connection() {
      return model.connection;
    },
    reconnect: () => model.connect(),
  };
  model.set("place", place);
  widget.render({ model, el });
  model.connect();
  // A machine that slept, or a network that came back: tried again without a timer that waits for it.
  const again = (): void => {
    if (document.visibilityState === "visible" && /gone|refused/.test(model.connection)) model.connect();
  };
  document.addEventListener("visibilitychange", again);
  window.addEventListener("online", again);
  // Following another link to this page changes the fragment alone.
  window.addEventListener("hashchange", () => location.reload());
}

/** What a browser keeps for a tab; some are told to keep nothing. */
function stored<Of>(use: () => Of): Of | null {
  try {
    return use();
  } catch {
    return null;
  }
}

void boot();
