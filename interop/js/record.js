'use strict';

// Records whole conversations with the bot into testdata/*.json.

const fs = require('fs');
const path = require('path');
const { runTurn } = require('./turn');

const png = { contentType: 'image/png', contentUrl: 'https://example.com/ada.png', name: 'ada.png' };
const gif = { contentType: 'image/gif', contentUrl: 'https://example.com/ada.gif', name: 'ada.gif' };

// A turn is a text, or the members of an activity.
const conversations = {
    'test-full': {
        about: 'channel test: every prompt with a retry, a picture, "yes" at the end, and a new start',
        channelId: 'test',
        turns: [
            'hello', 'by boat', 'bus', { text: '' }, 'Ada', 'perhaps', 'yes', 'old', '200', { type: 'typing', text: undefined }, 'I am 42',
            { text: 'here', attachments: [gif] }, { text: undefined, attachments: [gif, png] }, 'perhaps', 'yes', 'hello again',
        ],
    },
    'test-no-age': {
        about: 'channel test: no age, no picture, "no" at the end, and a second profile over the first one',
        channelId: 'test',
        turns: ['hello', '3', 'Grace', 'no', 'skip', 'no', 'hello', 'Car', 'Grace Hopper', 'y', '85.5', 'skip', '1'],
    },
    msteams: {
        about: 'channel msteams, with a locale: hero cards, no picture prompt',
        channelId: 'msteams',
        locale: 'en-US',
        turns: ['hello', 'Car', 'Ada', 'yes', '200', '42', 'no'],
    },
    directline: {
        about: 'channel directline, with a locale: suggested actions',
        channelId: 'directline',
        locale: 'en-US',
        turns: [{ type: 'conversationUpdate', text: undefined, membersAdded: [{ id: 'user-1' }] }, 'hello', 'boat', 'Car', 'Ada', 'No', 'none', 'Yes'],
    },
};

async function record(name, { about, channelId, locale, turns }) {
    const recorded = [];
    let storage = {};
    for (const [i, turn] of turns.entries()) {
        const activity = {
            type: 'message',
            id: `activity-${i + 1}`,
            timestamp: `2026-01-01T12:00:${String(i).padStart(2, '0')}.000Z`,
            channelId,
            serviceUrl: 'https://example.com/',
            from: { id: 'user-1', name: 'User' },
            recipient: { id: 'bot-1', name: 'Bot' },
            conversation: { id: 'conversation-1' },
            locale,
            ...(typeof turn === 'string' ? { text: turn } : turn),
        };
        const result = await runTurn({ activity, storage });
        if (result.error) throw new Error(`${name}, turn ${i + 1}: ${result.error}`);
        storage = result.storage;
        recorded.push({ activity, ...result });
    }
    const sdk = Object.fromEntries(['botbuilder', 'botbuilder-dialogs'].map((m) => [m, require(`${m}/package.json`).version]));
    const file = path.join(__dirname, 'testdata', `${name}.json`);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, JSON.stringify({ about, sdk, turns: recorded }, null, 2) + '\n');
}

async function main() {
    for (const [name, conversation] of Object.entries(conversations)) await record(name, conversation);
}

main();
