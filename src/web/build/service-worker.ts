/** The service worker: after the first load the page needs no network. */

/**
 * Its source. A new build has another version, is fetched whole, and takes over at the next visit.
 * @param version names the cache
 * @param files of the build, relative to the page
 */
export function serviceWorkerSource(version: string, files: readonly string[]): string {
	return `const CACHE = "reenter-${version}";
const FILES = ${JSON.stringify(files)};
addEventListener("install", (event) => {
	event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => skipWaiting()));
});
addEventListener("activate", (event) => {
	event.waitUntil(
		caches.keys()
			.then((names) => Promise.all(names.filter((name) => name.startsWith("reenter-") && name !== CACHE).map((name) => caches.delete(name))))
			.then(() => clients.claim()),
	);
});
addEventListener("fetch", (event) => {
	if (event.request.method !== "GET") return;
	event.respondWith(
		caches.open(CACHE)
			.then((cache) => cache.match(event.request, { ignoreSearch: true, ignoreVary: true }))
			.then((kept) => kept ?? fetch(event.request)),
	);
});
`;
}
