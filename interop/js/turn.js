'use strict';

// Runs turns of the bot in multiturn.js. One JSON object a line on standard input,
//   {"activity": {...}, "storage": {"key": {document}, ...}}
// gives one JSON object a line on standard output,
//   {"replies": [activities sent], "storage": {the documents after the turn}, "written": ["keys written"]}
// A failed turn gives {"error": "...", ...} with the documents as they were.
// Documents are without eTag, as in the "document" of an item of the Cosmos storage.

const readline = require('readline');
const { BotAdapter, ConversationState, TurnContext, UserState } = require('botbuilder');
const { MultiTurnBot } = require('./multiturn');

const copy = (value) => JSON.parse(JSON.stringify(value));

// A storage over a plain object, with JSON in between as in the real ones.
class PlainStorage {
    constructor(documents) {
        this.documents = copy(documents);
        this.written = [];
    }

    async read(keys) {
        const found = keys.filter((key) => Object.hasOwn(this.documents, key));
        return Object.fromEntries(found.map((key) => [key, { ...copy(this.documents[key]), eTag: '1' }]));
    }

    async write(changes) {
        for (const [key, { eTag, ...document }] of Object.entries(changes)) {
            this.documents[key] = copy(document);
            this.written.push(key);
        }
    }

    async delete(keys) {
        for (const key of keys) delete this.documents[key];
    }
}

// Keeps what the bot sends, as it would go over the wire: traces only on the emulator.
class CollectingAdapter extends BotAdapter {
    constructor() {
        super();
        this.sent = [];
    }

    async sendActivities(context, activities) {
        for (const activity of activities) {
            if (activity.type === 'trace' && activity.channelId !== 'emulator') continue;
            this.sent.push(copy(activity));
        }
        return activities.map((_, i) => ({ id: `reply-${this.sent.length - activities.length + i + 1}` }));
    }

    async updateActivity() {
        throw new Error('updateActivity is not supported');
    }

    async deleteActivity() {
        throw new Error('deleteActivity is not supported');
    }
}

async function runTurn({ activity, storage = {} }) {
    const documents = new PlainStorage(storage);
    const adapter = new CollectingAdapter();
    const bot = new MultiTurnBot(new ConversationState(documents), new UserState(documents));
    const result = {};
    try {
        const context = new TurnContext(adapter, copy(activity));
        await adapter.runMiddleware(context, (ctx) => bot.run(ctx));
    } catch (err) {
        result.error = String((err && err.message) || err);
    }
    return { ...result, replies: adapter.sent, storage: documents.documents, written: documents.written };
}

async function main() {
    for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
        if (line.trim() === '') continue;
        let result;
        try {
            result = await runTurn(JSON.parse(line));
        } catch (err) {
            result = { error: String((err && err.message) || err), replies: [], storage: {}, written: [] };
        }
        process.stdout.write(JSON.stringify(result) + '\n');
    }
}

module.exports = { runTurn, CollectingAdapter };

if (require.main === module) main();
