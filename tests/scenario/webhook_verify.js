// SPDX-License-Identifier: MIT
// Reads lines of JSON {secret, headers, body} and verifies each with the reference library of Standard Webhooks.
const { Webhook } = require('standardwebhooks');
const lines = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean);
let good = 0;
for (const line of lines) {
	const { secret, headers, body } = JSON.parse(line);
	try {
		new Webhook(secret).verify(Buffer.from(body, 'base64').toString('utf8'), headers);
		good++;
	} catch (error) {
		console.log(`refused: ${error.message}`);
	}
}
console.log(`${good} of ${lines.length} verified`);
process.exit(good === lines.length && good > 0 ? 0 : 1);
