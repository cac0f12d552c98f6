// Where the token is kept: in the session storage of this tab alone, which forgets it with the tab.

const KEY = "hostsync-token";

/** The token, or null before somebody has signed in. */
export function token() {
  return sessionStorage.getItem(KEY);
}

export function keepToken(text) {
  sessionStorage.setItem(KEY, text);
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}

/** Whether a text can stand in a header: visible ASCII, without blanks. */
export function canBeToken(text) {
  return /^[!-~]+$/.test(text);
}
