'use strict';

// Uses the official storage in a Cosmos DB container. The first line of standard input,
//   {"endpoint": "...", "key": "...", "database": "...", "container": "..."}
// says which. Each line after it is one of
//   {"op": "turn", "activity": {...}}  a turn of the bot in multiturn.js: {"replies": [activities sent]}
//   {"op": "write", "key": "...", "document": {...}}  {}
//   {"op": "read", "key": "..."}  {"document": {...}}, without document if there is none
//   {"op": "delete", "key": "..."}  {}
// and gives one line of standard output, with "error" if it failed.

const readline = require('readline');
const { CosmosDbPartitionedStorage } = require('botbuilder-azure');
const { ConversationState, TurnContext, UserState } = require('botbuilder');
const { MultiTurnBot } = require('./multiturn');
const { CollectingAdapter } = require('./turn');

async function run(storage, request) {
    switch (request.op) {
        case 'turn': {
            const adapter = new CollectingAdapter();
            const bot = new MultiTurnBot(new ConversationState(storage), new UserState(storage));
            await adapter.runMiddleware(new TurnContext(adapter, request.activity), (ctx) => bot.run(ctx));
            return { replies: adapter.sent };
        }
        case 'write':
            await storage.write({ [request.key]: request.document });
            return {};
        case 'read': {
            const found = (await storage.read([request.key]))[request.key];
            if (found === undefined) return {};
            const { eTag, ...document } = found;
            return { document };
        }
        case 'delete':
            await storage.delete([request.key]);
            return {};
        default:
            throw new Error(`unknown op ${request.op}`);
    }
}

async function main() {
    let storage;
    for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
        let result;
        try {
            const request = JSON.parse(line);
            if (storage === undefined) {
                storage = new CosmosDbPartitionedStorage({
                    cosmosDbEndpoint: request.endpoint,
                    authKey: request.key,
                    databaseId: request.database,
                    containerId: request.container,
                    compatibilityMode: false,
                });
                result = {};
            } else {
                result = await run(storage, request);
            }
        } catch (err) {
            result = { error: String((err && err.message) || err) };
        }
        process.stdout.write(JSON.stringify(result) + '\n');
    }
}

main();
