// A fuzzer's child for supervisor.test.ts: one case that ends, and one that does what its argument says.
const [deed, first] = [process.argv[2], Number(process.argv[3])];

const deeds = {
	end: () => process.send({ type: "ending", text: "code: vm-exit", rssBytesMax: 1 }, () => process.exit(0)),
	die: () => process.kill(process.pid, "SIGKILL"),
	leave: () => process.exit(0),
	spin: () => {
		for (;;);
	},
	wait: () => setInterval(() => {}, 1000),
	grow: () => {
		const kept = [];
		setInterval(() => kept.push(Buffer.alloc(8 << 20, 1)), 2);
	},
	throw: () => process.send({ type: "failure", text: "TypeError: of a case" }, () => process.exit(0)),
};

process.send({ type: "begin", ordinal: first });
process.send({ type: "ending", text: "code: vm-exit", rssBytesMax: 1 });
process.send({ type: "begin", ordinal: first + 1 }, deeds[deed]);
