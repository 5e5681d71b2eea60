// How values are written. Pure: the zone, the language and the present are given.

type Num = number | null | undefined;

const MINUS = "\u2212";
/** What is shown where there is no value. */
export const NONE = "\u2013";

/** A number of the snapshot, in which what is not known is absent. */
export function num(value: Num): number | null {
  return Number.isFinite(value) ? (value as number) : null;
}

const formats = new Map<string, Intl.NumberFormat>();

function digits(least: number, most: number): Intl.NumberFormat {
  const key = `${least} ${most}`;
  let format = formats.get(key);
  if (!format) formats.set(key, (format = new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most })));
  return format;
}

const withMinus = (text: string): string => text.replace("-", MINUS);

/** A price: two digits at least, and as many as it has, up to four. */
export function price(value: Num): string {
  const number = num(value);
  return number === null ? NONE : withMinus(digits(2, 4).format(number));
}

export function quantity(value: Num): string {
  const number = num(value);
  return number === null ? NONE : withMinus(digits(0, 4).format(number));
}

/** A quantity whose sign matters: long or short. */
export function signedQuantity(value: Num): string {
  const number = num(value);
  return number === null ? NONE : (number > 0 ? "+" : "") + quantity(number);
}

/** Money with its sign, so that colour is never the only one: +120.00 USD. */
export function money(value: Num, currency = ""): string {
  const number = num(value);
  if (number === null) return NONE;
  const rounded = Math.round(number * 100) / 100;
  const sign = rounded > 0 ? "+" : "";
  return `${sign}${withMinus(digits(2, 2).format(rounded || 0))}${currency && ` ${currency}`}`;
}

/** Money without the sign of a gain. */
export function amount(value: Num, currency = ""): string {
  return money(value, currency).replace(/^\+/, "");
}

export function percent(fraction: number | null, places = 1): string {
  if (fraction === null || !Number.isFinite(fraction)) return NONE;
  const value = fraction * 100;
  return `${value > 0 ? "+" : ""}${withMinus(digits(places, places).format(value))} %`;
}

/** A length of time with its two largest units: 2 d 4 h, 12 min 5 s. */
export function duration(seconds: number): string {
  let left = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]] as const) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count > 0 || parts.length > 0) parts.push(`${count} ${unit}`);
    if (parts.length === 2) break;
  }
  return parts.filter((part) => !part.startsWith("0 ")).join(" ") || "0 s";
}

/** A countdown: "in 2 h 5 min", "now", "12 s ago". Seconds are shown in the last ten minutes only. */
export function fromNow(at: number, now: number): string {
  const seconds = at - now;
  if (Math.abs(seconds) < 1) return "now";
  const shown = Math.abs(seconds) >= 600 ? Math.round(seconds / 60) * 60 : seconds;
  return seconds > 0 ? `in ${duration(shown)}` : `${duration(-shown)} ago`;
}

const moments = new Map<string, Intl.DateTimeFormat>();

function moment(zone: string | undefined, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${zone} ${JSON.stringify(options)}`;
  let format = moments.get(key);
  if (!format) moments.set(key, (format = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options })));
  return format;
}

/** Seconds since 1970 of a moment in the snapshot: ISO 8601 text, or seconds already. */
export function epoch(value: string | number | null | undefined): number | null {
  if (value === null || value === undefined) return null;
  const seconds = typeof value === "number" ? value : Date.parse(value) / 1000;
  return Number.isFinite(seconds) ? seconds : null;
}

export function clock(seconds: number | null, zone: string | undefined, withSeconds = true): string {
  if (seconds === null) return NONE;
  const options: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };
  if (withSeconds) options.second = "2-digit";
  return moment(zone, options).format(seconds * 1000);
}

export function day(seconds: number, zone: string | undefined): string {
  return moment(zone, { weekday: "short", day: "numeric", month: "short" }).format(seconds * 1000).replace(",", "");
}

/** The day of a date that is noon UTC of it: 30 Nov. */
export function date(noon: number): string {
  return moment("UTC", { day: "numeric", month: "short" }).format(noon * 1000);
}

export function weekday(seconds: number, zone: string | undefined): string {
  return moment(zone, { weekday: "short" }).format(seconds * 1000);
}

/** A moment as short as it can be: the time alone if it is today, else with the day. */
export function when(value: string | number | null | undefined, now: number, zone: string | undefined, withSeconds = false): string {
  const seconds = epoch(value);
  if (seconds === null) return NONE;
  const time = clock(seconds, zone, withSeconds);
  return day(seconds, zone) === day(now, zone) ? time : `${day(seconds, zone)}, ${time}`;
}

/** The short name of a zone at a moment: EST, CET, GMT+5:30. */
export function zoneName(zone: string | undefined, seconds: number): string {
  const format = new Intl.DateTimeFormat("en-US", { timeZone: zone, timeZoneName: "short" });
  return format.formatToParts(seconds * 1000).find((part) => part.type === "timeZoneName")?.value ?? "";
}

/** LOGGED_IN and awaiting-2fa in words. */
export function words(state: string): string {
  const text = state.replace(/[_-]/g, " ").toLowerCase().replace(/\b2fa\b/, "2FA").replace(/\bibkr\b/, "IBKR");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
